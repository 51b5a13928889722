"""What the tests of pages share."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.report.browser import CHROMIUM


@pytest.fixture
def browser() -> Iterator[Any]:
    """A browser without a window; the test is skipped where playwright is not installed."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()
