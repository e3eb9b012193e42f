"""What the browser tests look for on a page, as functions that return the problems that they found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from tools.build_book import ROOT

AXE = ROOT / "tests" / "vendor" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}

# Done when the page has loaded, all maths is typeset, every diagram is drawn, fonts are in, and no colour is changing.
SETTLED = """async () => {
  if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise;
  const diagrams = [...document.querySelectorAll('pre.mermaid')];
  const theme = document.documentElement.dataset.theme === 'dark' ? 'dark' : 'default';
  const end = Date.now() + 20000;
  while (Date.now() < end && diagrams.some((d) => ![theme, 'error'].includes(d.dataset.drawn)))
    await new Promise((done) => setTimeout(done, 50));
  await document.fonts.ready;
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  for (const animation of document.getAnimations())
    if (animation.effect.getComputedTiming().endTime < Infinity) animation.finish();
}"""

MATHS = """() => {
  const problems = [];
  const written = document.querySelectorAll('.math').length;
  const drawn = document.querySelectorAll('.math mjx-container').length;
  for (const element of document.querySelectorAll('.math'))
    if (!element.querySelector('mjx-container'))
      problems.push(`maths not rendered: ${element.textContent.trim().slice(0, 60)}`);
  for (const element of document.querySelectorAll('mjx-merror, [data-mjx-error]'))
    problems.push(`maths with an error: ${element.getAttribute('data-mjx-error') ?? element.textContent.slice(0, 60)}`);
  for (const element of document.querySelectorAll('.bd-article p, .bd-article li, .bd-article td')) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join(' ');
    if (/\\\\\\(|\\\\\\[|\\$\\$/.test(text)) problems.push(`maths left as text: ${text.trim().slice(0, 60)}`);
  }
  return problems;
}"""

DIAGRAMS = """() => {
  const problems = [];
  document.querySelectorAll('pre.mermaid').forEach((element, index) => {
    const svg = element.querySelector('svg');
    if (!svg || svg.getBoundingClientRect().width < 10) problems.push(`diagram ${index + 1} is not drawn`);
    else if (svg.getAttribute('aria-roledescription') === 'error' || element.dataset.drawn === 'error')
      problems.push(`diagram ${index + 1} is drawn as an error`);
    if (!element.closest('[role=img][aria-label]')?.getAttribute('aria-label').trim())
      problems.push(`diagram ${index + 1} has no text alternative`);
  });
  for (const code of document.querySelectorAll('[class*="highlight-mermaid"], code.language-mermaid'))
    problems.push(`a diagram left as text: ${code.textContent.trim().slice(0, 60)}`);
  return problems;
}"""

WIDTH = """() => {
  const room = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= window.innerWidth + 1) return [];
  const wide = [...document.querySelectorAll('.bd-article *')]
    .filter((e) => e.getBoundingClientRect().right > room + 1).slice(0, 3)
    .map((e) => `${e.tagName.toLowerCase()}.${e.className?.toString().replace(/\\s+/g, '.')}`);
  return [`the page is ${document.documentElement.scrollWidth} px wide in a window of ${window.innerWidth}: ${wide}`];
}"""

IMAGES = """() => [...document.images]
  .filter((i) => i.checkVisibility() && !i.closest('pre.mermaid'))
  .flatMap((i) => [
    ...(i.complete && i.naturalWidth ? [] : [`image not loaded: ${i.src}`]),
    ...(i.alt.trim() || i.closest('.navbar-brand') ? [] : [`image without alternative text: ${i.src}`]),
  ])"""

# A browser lets no script read the style sheets of a page that comes from the file system, so axe must not try.
AXE_RUN = """async (only) => {
  const preload = location.protocol !== 'file:';
  const answer = await axe.run(document, {resultTypes: ['violations'], preload, ...only});
  return answer.violations.map((v) => ({
    id: v.id, impact: v.impact, help: v.help,
    where: v.nodes.slice(0, 3).map(
      (n) => `${n.target.join(' ')} (${(n.any[0] ?? n.all[0] ?? n.none[0])?.message ?? ''})`),
    count: v.nodes.length,
  }));
}"""


def accessibility_problems(page: Any) -> list[str]:
    """What axe finds, by all of its rules; the page holds axe afterwards."""
    page.evaluate(AXE.read_text(encoding="utf8"))
    return _serious(page.evaluate(AXE_RUN, {}))


def color_problems(page: Any) -> list[str]:
    """What axe's rules about colours find: all that a switch of the theme can change. The page holds axe already."""
    return _serious(page.evaluate(AXE_RUN, {"runOnly": ["color-contrast", "link-in-text-block"]}))


def _serious(violations: list[dict[str, Any]]) -> list[str]:
    return [
        f"axe, {v['impact']}: {v['help']} [{v['id']}], {v['count']} times, such as {'; '.join(v['where'])}"
        for v in violations
        if v["impact"] in SERIOUS
    ]


def looks_problems(page: Any) -> list[str]:
    """What is wrong with a settled page: maths, diagrams, width, images."""
    return [problem for script in (MATHS, DIAGRAMS, WIDTH, IMAGES) for problem in page.evaluate(script)]


class Watch:
    """Notes what a page complains of in the console, and what it asks of other hosts."""

    def __init__(self, page: Any, origin: str) -> None:
        self.problems: list[str] = []
        self.origin = origin
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"JavaScript error: {error}"))
        page.on("request", self._request)
        page.on("requestfailed", lambda r: self.problems.append(f"request failed: {r.url} ({r.failure})"))
        page.on("response", self._response)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(f"console error: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.problems.append(f"outside request: {request.url}")

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.problems.append(f"HTTP {response.status}: {response.url}")


@contextmanager
def watched(context: Any, url: str, origin: str) -> Iterator[tuple[Any, Watch]]:
    """Open a page of the browser, settled, with a watch on it from its first byte."""
    page = context.new_page()
    watch = Watch(page, origin)
    try:
        page.goto(url, wait_until="load")
        page.evaluate(SETTLED)
        yield page, watch
    finally:
        page.close()


class Document(HTMLParser):
    """The ids and the links of one HTML file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text(encoding="utf8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {key: value or "" for key, value in attrs}
        self.ids.update(known[key] for key in ("id", "name") if key in known and (key == "id" or tag == "a"))
        if tag == "a" and "href" in known:
            self.links.append(known["href"])
        if tag in {"script", "img", "iframe", "source", "audio", "video"} and known.get("src"):
            self.loads.append(known["src"])
        if tag == "link" and known.get("rel") in {
            "stylesheet",
            "preload",
            "icon",
            "shortcut icon",
            "preconnect",
        }:
            self.loads.append(known.get("href", ""))


class Site:
    """The files of a built book, for what can be checked without a browser."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def documents(self) -> dict[Path, Document]:
        return {
            path: Document(path)
            for path in sorted(self.folder.rglob("*.html"))
            if "_static" not in path.parts
        }

    def has_place(self, target: Path, fragment: str) -> bool:
        return not fragment or target not in self.documents or fragment in self.documents[target].ids

    def broken_links(self) -> list[str]:
        """Links inside the book whose file or fragment does not exist."""
        found = []
        for path, document in self.documents.items():
            here = path.relative_to(self.folder)
            for link in document.links:
                parts = urlsplit(link)
                if parts.scheme or parts.netloc or link in {"", "#"}:
                    continue
                target = path
                if parts.path:
                    target = self.folder / unquote(urljoin(f"/{here.as_posix()}", parts.path)).lstrip("/")
                    target = target / "index.html" if target.is_dir() else target
                if not target.is_file():
                    found.append(f"{here}: {link} leads nowhere")
                elif not self.has_place(target, unquote(parts.fragment)):
                    found.append(f"{here}: {link} has no such anchor on the page")
        return found

    def outside_loads(self) -> list[str]:
        """Scripts, styles, fonts and pictures that a page would take from another host."""
        return [
            f"{path.relative_to(self.folder)}: {load}"
            for path, document in self.documents.items()
            for load in document.loads
            if urlsplit(load).netloc
        ]

    def dead_launchers(self) -> list[str]:
        """Launch, edit, issue and repository links; none may show while the repository has no address."""
        words = ("mybinder.org", "colab.research", "/issues/new", "/edit/", "executablebooks/jupyter-book")
        return [
            f"{path.relative_to(self.folder)}: {link}"
            for path, document in self.documents.items()
            for link in document.links
            if any(word in link for word in words)
        ]
