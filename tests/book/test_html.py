"""The built book in a real browser: every page, desktop and phone, light and dark, over http and from the file system.

`make test` builds the book before. Without a browser these tests are skipped, with CI=true they fail.
"""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages import AXE, SETTLED, Site, accessibility_problems, color_problems, looks_problems, watched
from tools.browser import FLAGS, find_browser
from tools.build_book import HTML, ROOT, pages

pytestmark = pytest.mark.browser

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
THEMES = ("light", "dark")
# Each page is opened twice, and looked at in the theme that it opens in and, switched, in the other.
VISITS = [
    pytest.param("desktop", "light", False, id="desktop"),
    pytest.param("phone", "dark", True, id="phone-from-the-file-system"),
]
PAGES = [*pages(), "genindex", "search"]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def built() -> Path:
    if not (HTML / "index.html").is_file():
        pytest.fail("there is no built book; run make book first")
    return HTML


@pytest.fixture(scope="module")
def site(built: Path) -> Site:
    return Site(built)


@pytest.fixture(scope="module")
def http_origin(built: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(built))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = find_browser()
    if path is None:
        message = "NO BROWSER: install Chromium (python -m tools.browser) to check the pages"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def contexts(browser: Any) -> Iterator[dict[tuple[str, str], Any]]:
    """A browser profile for each size and theme; the theme is what a reader's earlier choice would have stored."""
    made = {}
    for size, viewport in SIZES.items():
        for theme in THEMES:
            context = browser.new_context(viewport=viewport, color_scheme=theme, service_workers="block")
            stored = "".join(f"localStorage.setItem('{key}', '{theme}');" for key in ("mode", "theme"))
            context.add_init_script(f"try {{ {stored} }} catch {{}}")
            made[size, theme] = context
    yield made
    for context in made.values():
        context.close()


@pytest.mark.parametrize(("size", "theme", "from_file"), VISITS)
@pytest.mark.parametrize("name", PAGES)
def test_page(
    contexts: Any, built: Path, http_origin: str, name: str, size: str, theme: str, from_file: bool
) -> None:
    origin, address = (
        ("file://", (built / f"{name}.html").as_uri())
        if from_file
        else (http_origin, f"{http_origin}/{name}.html")
    )
    with watched(contexts[size, theme], address, origin) as (page, watch):
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        problems = looks_problems(page) + accessibility_problems(page)
        other = "dark" if theme == "light" else "light"
        page.evaluate(f"document.documentElement.dataset.theme = '{other}'")
        page.evaluate(SETTLED)
        in_other = looks_problems(page) + color_problems(page)
        assert watch.problems + problems + [f"{other}: {problem}" for problem in in_other] == []


def test_diagrams_follow_the_theme(contexts: Any, http_origin: str, site: Site) -> None:
    named = [
        name for name in pages() if 'class="mermaid"' in (site.folder / f"{name}.html").read_text("utf8")
    ]
    assert named, "no page has a diagram"
    with watched(contexts["desktop", "light"], f"{http_origin}/{named[0]}.html", http_origin) as (
        page,
        watch,
    ):
        before = page.locator("pre.mermaid svg").first.evaluate("svg => svg.outerHTML")
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.evaluate(SETTLED)
        after = page.locator("pre.mermaid svg").first.evaluate("svg => svg.outerHTML")
        assert before != after
        assert watch.problems == []


def test_search_finds_a_word(contexts: Any, http_origin: str) -> None:
    with watched(contexts["desktop", "light"], f"{http_origin}/search.html?q=instruction", http_origin) as (
        page,
        watch,
    ):
        page.wait_for_selector("#search-results li a", timeout=120_000)
        assert watch.problems == []


def test_glossary_shows_on_keyboard_focus(contexts: Any, http_origin: str, site: Site) -> None:
    named = [name for name in pages() if "book-term" in (site.folder / f"{name}.html").read_text("utf8")]
    assert named, "no page links a glossary term"
    with watched(contexts["desktop", "light"], f"{http_origin}/{named[0]}.html", http_origin) as (
        page,
        watch,
    ):
        link = page.locator("a.book-term").first
        link.focus()
        note = page.locator(f"#{link.get_attribute('aria-describedby')}")
        assert note.is_visible()
        assert note.inner_text().strip()
        page.keyboard.press("Escape")
        assert not note.is_visible()
        assert watch.problems == []


def test_internal_links(site: Site) -> None:
    assert site.broken_links() == []


def test_nothing_is_loaded_from_outside(site: Site) -> None:
    assert site.outside_loads() == []


def test_nothing_dead_is_shown(site: Site) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))["sphinx"]["config"]
    if config["book_repository"]:
        pytest.skip("the repository has an address")
    assert site.dead_launchers() == []


def test_each_notebook_can_be_downloaded(site: Site) -> None:
    for name in pages():
        if (ROOT / f"{name}.ipynb").is_file():
            links = site.documents[site.folder / f"{name}.html"].links
            assert any(link.endswith(f"{Path(name).name}.ipynb") for link in links), (
                f"{name}: no notebook to download"
            )


def test_previous_and_next(site: Site) -> None:
    named = pages()
    for name, following in zip(named, named[1:], strict=False):
        text = (site.folder / f"{name}.html").read_text("utf8")
        buttons = text[text.index("prev-next-footer") :] if "prev-next-footer" in text else ""
        assert f'href="{Path(following).name}.html"' in buttons, f"{name} does not lead on to {following}"


# Tests of the tests: each check has to fail on a page that is broken on purpose.

BROKEN_PAGE = """<!doctype html><html><head><title>t</title></head><body><main class="bd-article">
<h1>broken</h1><p>maths left: \\\\(x\\\\)</p><span class="math">\\(x\\)</span><pre class="mermaid">flowchart</pre>
<img src="absent.png"><div style="width: 3000px">wide</div>
<button></button><p style="color: #ddd; background: #fff">pale</p>
<script src="http://outside.invalid/x.js"></script>
<script>console.error("complaint"); throw new Error("thrown")</script>
<a href="nowhere.html">a</a><a href="#nothing">b</a></main></body></html>"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "broken.html").write_text(BROKEN_PAGE.replace("\\\\", "\\"), encoding="utf8")
    return tmp_path / "broken.html"


@pytest.mark.parametrize(
    "expected",
    [
        "maths not rendered",
        "maths left as text",
        "diagram 1 is not drawn",
        "diagram 1 has no text alternative",
        "px wide in a window of",
        "image not loaded",
        "image without alternative text",
        "axe, critical: Buttons must have discernible text",
        "axe, serious: Elements must meet minimum color contrast",
        "console error: complaint",
        "JavaScript error: thrown",
        "outside request: http://outside.invalid/x.js",
    ],
)
def test_each_check_can_fail(browser: Any, broken: Path, expected: str) -> None:
    from tests.pages import Watch

    page = browser.new_page(viewport=SIZES["phone"])
    watch = Watch(page, "file://")
    page.goto(broken.as_uri())
    found = looks_problems(page) + accessibility_problems(page) + watch.problems
    page.close()
    assert [problem for problem in found if expected in problem], found


def test_link_checks_can_fail(broken: Path) -> None:
    site = Site(broken.parent)
    assert len(site.broken_links()) == 2
    assert len(site.outside_loads()) == 1


def test_axe_is_there() -> None:
    assert AXE.is_file(), "run make setup"
