"""Pages in a browser, for tests."""

import shutil
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def open_page(browser: Any, path: Path, width: int = 1280, **options: Any) -> tuple[Any, list[str], list[str]]:
    """The page, what its console says, and what it asks for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    tab = context.new_page()
    problems: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(path.as_uri())
    return tab, problems, [url for url in requests if not url.startswith(("data:", "file:"))]
