"""Find a headless Chromium for the tests of the built book, and install one where that is possible.

    python -m tools.browser            find or install
    python -m tools.browser --find     find only

Order: a Chromium or Chrome on PATH; Debian's package, as root; Playwright's own download. Without any, the browser
tests are skipped, loudly; with CI=true that is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def say(message: str) -> None:
    print(f"[browser] {message}", file=sys.stderr, flush=True)


def on_path() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


def of_playwright() -> str | None:
    """The path of the Chromium that Playwright has downloaded, if it has."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def find_browser() -> str | None:
    """The path of a Chromium that can be started, or None."""
    return on_path() or of_playwright()


def has_chinese_font() -> bool:
    """Whether fontconfig knows a font with Chinese glyphs (True where there is no fontconfig to ask)."""
    if not shutil.which("fc-list"):
        return True
    return bool(subprocess.run(["fc-list", ":lang=zh"], capture_output=True, text=True).stdout.strip())


def can_use_apt() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(*packages: str) -> bool:
    say(f"installing {' '.join(packages)} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", *packages]):
        if subprocess.run(command, env=environment, stdout=sys.stderr).returncode:
            return False
    return True


def playwright_install() -> bool:
    say("downloading Playwright's Chromium")
    return not subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"]).returncode


def main(arguments: list[str]) -> int:
    browser = find_browser()
    if browser is None and "--find" not in arguments:
        if can_use_apt():
            apt_install("chromium", "fonts-noto-cjk")
            browser = on_path()
        if browser is None and playwright_install():
            browser = of_playwright()
    if browser is None:
        say("NO BROWSER: no Chromium found and none could be installed; the browser tests will be SKIPPED")
        return 1 if os.environ.get("CI") == "true" else 0
    if (
        not has_chinese_font()
        and "--find" not in arguments
        and not (can_use_apt() and apt_install("fonts-noto-cjk"))
    ):
        say(
            "no Chinese font on this system: Chinese labels will show as boxes in screenshots, and nothing else changes"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
