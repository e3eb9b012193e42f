"""Configure the launch, edit, issue and repository buttons by one setting, the repository's address.

Without an address (`book_repository` is empty) pages show no button, so that no link is broken.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

BUTTONS = ("use_repository_button", "use_edit_page_button", "use_issues_button")
BINDER = "https://mybinder.org"
COLAB = "https://colab.research.google.com"


def theme_options(address: str, branch: str) -> dict[str, Any]:
    """Return the theme's options for a repository's address, which may be empty."""
    if not address.strip():
        return {"repository_url": "", "launch_buttons": {}, **dict.fromkeys(BUTTONS, False)}
    launch: dict[str, Any] = {"binderhub_url": BINDER, "notebook_interface": "jupyterlab"}
    if "github.com/" in address:
        launch["colab_url"] = COLAB
    return {
        "repository_url": address.strip().rstrip("/"),
        "repository_branch": branch,
        "path_to_docs": "",
        "launch_buttons": launch,
        **dict.fromkeys(BUTTONS, True),
    }


def apply_setting(app: Sphinx, config: Config) -> None:
    config.html_theme_options = {
        **config.html_theme_options,
        **theme_options(config.book_repository, config.book_repository_branch),
    }


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("book_repository", "", "html")
    app.add_config_value("book_repository_branch", "main", "html")
    app.connect("config-inited", apply_setting, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
