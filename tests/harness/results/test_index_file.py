"""The index of a results folder changes nothing but the time: not if it is missing, damaged, old or wrong."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.results import index, index_file
from harness.results.folder import RunFolder
from harness.results.index import planned_runs, results_of, stored_runs
from harness.results.index_file import INDEX
from harness.results.record import DamagedError, read_result
from harness.schedule import unfinished
from tests.made_up_results import evaluation, result_json, write_result

RUNS = 4
Seen = list[tuple[object, ...]]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index pays for one run already, and files that were just written are settled."""
    monkeypatch.setattr(index_file, "WORTH", 1)
    monkeypatch.setattr(index, "WORTH", 1)
    monkeypatch.setattr(index_file, "SETTLED", -1.0)


@pytest.fixture
def specs(spec: RunSpec) -> list[RunSpec]:
    """Some runs."""
    return [spec.model_copy(update={"seed": seed}) for seed in range(1, RUNS + 1)]


@pytest.fixture
def results(tmp_path: Path, specs: list[RunSpec]) -> Path:
    """A results folder with these runs, complete, and no index."""
    for number, spec in enumerate(specs):
        facts = {"per_class": {"cat": 50.0, "dog": 60.0}, "template": "a drawing of {article} {}."}
        one = evaluation(spec, "base", 60.0 + number, **facts)
        write_result(tmp_path, result_json(spec, {}, {}, evaluations=[one], of_tomorrow={"a": [1, "ü\t\n"]}))
    return tmp_path


def seen(results: Path) -> Seen:
    """All that is known of all runs."""
    found = [(run.id, run.state, run.reason, run.name, run.outcome, run.result) for run in stored_runs(results)]
    return [tuple(one) for one in found]


def truth(results: Path) -> Seen:
    """The same without an index."""
    (results / INDEX).unlink(missing_ok=True)
    found = seen(results)
    (results / INDEX).unlink(missing_ok=True)
    return found


def refuse(*_: object) -> bytes:
    raise AssertionError("a result was read")


def test_results_are_read_once(results: Path, specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = seen(results)
    assert [one[1] for one in expected] == ["done"] * RUNS
    assert (results / INDEX).is_file()
    monkeypatch.setattr(index, "read_regular", refuse)
    assert seen(results) == expected
    assert [run.result for run in planned_runs(specs[::-1], results)] == [
        {str(one[0]): one[5] for one in expected}[spec.id] for spec in specs[::-1]
    ]
    assert unfinished(specs, results) == []


def test_what_the_index_has_is_the_file(results: Path) -> None:
    for one in (*seen(results), *seen(results)):
        result = one[5]
        whole = read_result(results / "runs" / str(one[0]) / "result.json")
        assert whole.evaluations[0].per_class == {"cat": 50.0, "dog": 60.0}
        assert result == whole
    lines = (results / INDEX).read_bytes().splitlines()
    assert len(lines) == 1 + RUNS
    # Whatever a later version writes stays for that version.
    assert all(json.loads(line[line.index(b"{") :])["of_tomorrow"] == {"a": [1, "ü\t\n"]} for line in lines[1:])


def rewritten(results: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = results / INDEX
    path.write_bytes(b"\n".join(change(path.read_bytes().split(b"\n"))))


def with_checksum(line: bytes, old: bytes, new: bytes) -> bytes:
    """A line whose content was changed and given a checksum that fits."""
    place = line.index(b"{")
    text = line[place:].replace(old, new)
    assert text != line[place:]
    return line[: place - 9] + index_file.checksum(text) + text


MISCHIEF: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "empty": lambda lines: [],
    "another form": lambda lines: [b"skipbench-index\t2", *lines[1:]],
    "cut": lambda lines: [*lines[:2], lines[2][:-40]],
    "a number changed": lambda lines: [line.replace(b"60.0", b"99.0") for line in lines],
    "lines without fields": lambda lines: [lines[0], *(line.split(b"\t")[0] for line in lines[1:])],
    "contents exchanged": lambda lines: [
        lines[0],
        *(a.split(b"\t")[0] + b[b.index(b"\t") :] for a, b in zip(lines[1:-1], [*lines[2:-1], lines[1]], strict=True)),
    ],
    "runs that are not there": lambda lines: [*lines[:-1], lines[1].replace(lines[1][:4], b"ffff"), b""],
    "no result": lambda lines: [
        lines[0],
        *(with_checksum(line, line[line.index(b"{") :], b"{}") for line in lines[1:-1]),
    ],
    "another id": lambda lines: [lines[0], *(with_checksum(line, line[:12], b"0" * 12) for line in lines[1:-1])],
    "a later form": lambda lines: [
        lines[0],
        *(with_checksum(line, b'{"id', b'{"schema_version":99,"id') for line in lines[1:-1]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", MISCHIEF)
def test_a_damaged_or_wrong_index_changes_nothing(what: str, results: Path, specs: list[RunSpec]) -> None:
    expected = truth(results)
    seen(results)
    rewritten(results, MISCHIEF[what])
    assert unfinished(specs, results) == []
    assert seen(results) == expected
    assert seen(results) == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_of_the_index_matters(data: st.DataObject, results: Path) -> None:
    path = results / INDEX
    if not path.exists():
        seen(results)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :])
    found = seen(results)
    path.write_bytes(whole)
    assert found == seen(results)


def test_results_that_were_changed_are_read_anew(results: Path, specs: list[RunSpec]) -> None:
    seen(results)
    first, second, third, fourth = (results / "runs" / spec.id / "result.json" for spec in specs)
    # The same size and time of modification, as a careful copy has.
    before = os.stat(first)
    text = first.read_text()
    first.write_text(text.replace("60.0", "61.5", 1))
    os.utime(first, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(first).st_size == before.st_size
    second.write_text("{")
    shutil.rmtree(third.parent)
    os.replace(fourth, fourth.with_name("elsewhere"))
    found = seen(results)
    assert found == truth(results)
    by_id = {one[0]: one for one in found}
    assert by_id[specs[0].id][4] == "base 61.50"
    assert by_id[specs[1].id][1] == "damaged"
    assert specs[2].id not in by_id
    assert by_id[specs[3].id][1] == "missing"
    assert [spec.seed for spec in unfinished(specs, results)] == [3, 4]


def test_damaged_results_are_never_in_the_index(results: Path, specs: list[RunSpec]) -> None:
    path = results / "runs" / specs[0].id / "result.json"
    path.write_text(path.read_text().replace('"accuracy": 60.0', '"accuracy": NaN'))
    expected = truth(results)
    assert expected == seen(results) == seen(results)
    assert specs[0].id.encode() not in (results / INDEX).read_bytes()


def test_a_changed_template_is_refused_with_an_index_too(results: Path, specs: list[RunSpec]) -> None:
    path = results / "runs" / specs[-1].id / "result.json"
    path.write_text(path.read_text().replace("a drawing of {article} {}.", "no {}."))
    messages = set()
    for _ in range(2):
        with pytest.raises(UserError, match="the prompt template of data set 'emoji'") as caught:
            unfinished(specs, results)
        messages.add(str(caught.value))
        seen(results)
        assert (results / INDEX).is_file()
    assert len(messages) == 1


def test_a_folder_that_cannot_be_written_works_without(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = truth(results)

    def full(*_: object) -> None:
        raise UserError("no space")

    monkeypatch.setattr(index_file, "write_atomically", full)
    assert seen(results) == expected
    assert not (results / INDEX).exists()


def test_two_processes_may_write_it(results: Path, specs: list[RunSpec]) -> None:
    expected = truth(results)
    halves = [list(planned_runs(half, results)) for half in (specs[:2], specs[2:])]
    # Both have read the index before either writes it: the second knows nothing of the first.
    for half in halves:
        assert half[0].result
    for half in halves:
        assert half[1].result
    assert len((results / INDEX).read_bytes().splitlines()) == 3
    assert seen(results) == expected
    assert len((results / INDEX).read_bytes().splitlines()) == 1 + RUNS
    assert os.listdir(results).count(INDEX) == 1
    assert not [name for name in os.listdir(results) if name.endswith(".tmp")]


def test_a_file_that_was_just_written_is_not_trusted(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "SETTLED", 1000.0)
    seen(results)
    assert not (results / INDEX).exists()


def test_small_folders_have_no_index(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "WORTH", RUNS + 1)
    seen(results)
    assert not (results / INDEX).exists()


def test_results_of_some_runs_come_from_it(
    results: Path, specs: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(results)
    expected = [run.folder.read_result() for run in planned_runs(specs, results)]
    monkeypatch.setattr(index, "read_regular", lambda path: pytest.fail(f"{path} was read"))
    assert list(results_of(results, [spec.id for spec in specs])) == expected


def test_what_it_lacks_is_read_and_what_is_damaged_is_told(results: Path, specs: list[RunSpec]) -> None:
    seen(results)
    RunFolder(results, specs[1].id).result_file.write_text("{")
    found = results_of(results, [spec.id for spec in specs])
    assert next(found).id == specs[0].id
    with pytest.raises(DamagedError, match="is not the result of a run"):
        next(found)
