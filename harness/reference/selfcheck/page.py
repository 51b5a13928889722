"""What the self-check found, as text and as a page."""

import html
from collections.abc import Sequence

from harness.machine.environment import Environment
from harness.machine.units import MIB
from harness.reference.selfcheck.findings import Finding, Value

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #8884}"
    ".number{text-align:right;font-variant-numeric:tabular-nums}.wrong{color:#c00;font-weight:bold}"
)
COLUMNS = ("section", "about", "quantity", "value", "limit", "")
LARGE = 1e6
# Letters of a text in a table; the JSON file has all of it.
LONGEST = 40


def number(value: Value | None, unit: str) -> str:
    """A value with its unit, as people read it, a long text shortened; empty for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
    if unit == "bytes" and value >= LARGE:
        return f"{value / MIB:,.1f} MiB"
    text = f"{value:,.0f}" if value == int(value) and abs(value) < LARGE else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def exactly(finding: Finding) -> str:
    """One line that names what is wrong: section, subject, quantity, value and limit in full."""
    limit = "" if finding.limit is None else f" (limit {finding.limit})"
    unit = f" {finding.unit}" if finding.unit else ""
    return f"WRONG {finding.section}, {finding.subject}: {finding.quantity}: {finding.value}{unit}{limit}"


def cells(finding: Finding) -> tuple[str, ...]:
    """A finding as a row of a table."""
    value, limit = number(finding.value, finding.unit), number(finding.limit, finding.unit)
    return finding.section, finding.subject, finding.quantity, value, limit, "" if finding.ok else "WRONG"


def html_page(machine: Environment, findings: Sequence[Finding]) -> str:
    """One HTML file that loads nothing else: the machine, and all findings, wrong ones first."""
    wrong = sum(not item.ok for item in findings)
    verdict = f"{wrong} of {len(findings)} numbers are wrong" if wrong else f"all {len(findings)} numbers are right"
    where = f"{machine.device}, {machine.processor or 'unknown processor'}, {machine.versions()}"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS)
    rows = "\n".join(_row(item) for item in sorted(findings, key=lambda item: item.ok))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>SkipBench self-check</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>Self-check: {html.escape(verdict)}</h1>\n"
        f"<p>{html.escape(where)}</p>\n<table>\n<tr>{head}</tr>\n{rows}\n</table>\n</body></html>\n"
    )


def _row(finding: Finding) -> str:
    kinds = ("", "", "", "number", "number", "wrong")
    texts = zip(kinds, cells(finding), strict=True)
    return "<tr>" + "".join(f'<td class="{kind}">{html.escape(text)}</td>' for kind, text in texts) + "</tr>"
