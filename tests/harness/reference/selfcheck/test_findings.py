"""Parts of a section that are done and right are not computed again."""

from harness.reference.selfcheck.findings import Finding, Items


def test_only_what_is_missing_or_was_wrong_is_looked_at() -> None:
    looked: list[str] = []
    changes: list[int] = []

    def find(subject: str, ok: bool = True) -> list[Finding]:
        looked.append(subject)
        return [Finding("memory", subject, "peak", 1, ok=ok)]

    items = Items(on_change=lambda: changes.append(len(items.known["memory"])))
    for _ in range(2):
        items.look("memory", "coop", lambda: find("coop"))
        items.look("memory", "skip", lambda: find("skip", ok=False))
    assert looked == ["coop", "skip", "skip"]
    # Each is stored before the next one begins.
    assert changes == [1, 2, 2]
    items.forget("memory")
    items.look("memory", "coop", lambda: find("coop"))
    assert looked[-1] == "coop"


def test_an_error_is_what_is_found() -> None:
    def fail() -> list[Finding]:
        raise RuntimeError("out of memory\nat line 3")

    (found,) = Items().look("memory", "coop", fail)
    assert (found.subject, found.quantity, found.value, found.ok) == ("coop", "ended early", "out of memory", False)
