"""What the self-check prints: numbers as people read them, one line for what is wrong, a page without foreign HTML."""

import pytest

from harness.machine.environment import Environment
from harness.reference.selfcheck.findings import Finding, Value, finite
from harness.reference.selfcheck.page import cells, exactly, html_page, number

WRONG = Finding("memory", "<b>mine</b>", "peak of train", 3145729.0, "bytes", 3145728, False)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "bytes", ""),
        ("unknown", "MiB", "unknown"),
        ("x" * 41, "", "x" * 39 + "…"),
        (3145728, "bytes", "3.0 MiB"),
        (12, "bytes", "12 bytes"),
        (1.23456e-5, "", "1.23e-05"),
        (98765.4, "", "9.88e+04"),
        (0, "", "0"),
    ],
)
def test_numbers_are_readable(value: Value | None, unit: str, text: str) -> None:
    assert number(value, unit) == text


def test_a_wrong_number_is_told_in_full() -> None:
    assert exactly(WRONG) == "WRONG memory, <b>mine</b>: peak of train: 3145729.0 bytes (limit 3145728)"
    assert cells(WRONG)[-1] == "WRONG"


def test_the_page_escapes_names_and_begins_with_what_is_wrong() -> None:
    right = Finding("files", "folder", "free", 7)
    page = html_page(Environment(device="cpu"), [right, WRONG])
    assert "1 of 2 numbers are wrong" in page
    assert "<b>" not in page
    assert page.index("&lt;b&gt;mine&lt;/b&gt;") < page.index("folder")
    assert "all 1 numbers are right" in html_page(Environment(device="cpu"), [right])


def test_what_json_has_no_number_for_is_text() -> None:
    assert finite(1.5) == 1.5
    assert (finite(float("inf")), finite(float("nan"))) == ("inf", "nan")
