"""Runs in processes of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.experiment.spec import RunSpec
from harness.results.failure import explain_exit
from harness.results.folder import RunFolder
from harness.schedule import run_all
from harness.training.events import Done, Event, Failed, PhaseStarted
from tests.evaluations import FEW_OF_BOTH

Make = Callable[..., RunSpec]


def test_runs_report_and_one_failure_touches_no_other(make_spec: Make, tmp_path: Path) -> None:
    good = make_spec("zeroshot", FEW_OF_BOTH, shots=1)
    bad = make_spec("skip", "train.batch_size=8", shots=4)
    news: list[tuple[str, Event]] = []
    failures = run_all([bad, good], tmp_path, on_event=lambda spec, item: news.append((spec.method, item)))
    assert [failure.spec.id for failure in failures] == [bad.id]
    assert "same-class batches of 8" in failures[0].failure.reason
    assert "same-class batches of 8" in failures[0].log.read_text()
    assert RunFolder(tmp_path, good.id).is_complete
    assert not RunFolder(tmp_path, bad.id).is_complete
    assert news[-1] == ("zeroshot", Done())
    assert ("skip", Failed(failures[0].failure.reason)) in news
    assert ("zeroshot", PhaseStarted("evaluate", "new")) in news

    before = RunFolder(tmp_path, good.id).result_file.stat().st_mtime_ns
    assert run_all([good], tmp_path) == []
    assert RunFolder(tmp_path, good.id).result_file.stat().st_mtime_ns == before


def test_a_run_has_the_environment_of_its_own_start(
    make_spec: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of the first run, from which the server of processes has its own."""
    for mode, folders in {"disabled": 0, "offline": 1}.items():
        monkeypatch.setenv("WANDB_MODE", mode)
        spec = make_spec("zeroshot", FEW_OF_BOTH, shots=1)
        assert run_all([spec], tmp_path / mode) == []
        assert len(list((tmp_path / mode).glob("runs/*/wandb/offline-run-*"))) == folders


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "SIGKILL"), (-11, "SIGSEGV"), (-15, "SIGTERM"), (143, "SIGTERM"), (3, "exit code 3")]
)
def test_exit_codes_are_explained(code: int, words: str) -> None:
    assert words in explain_exit(code).reason
