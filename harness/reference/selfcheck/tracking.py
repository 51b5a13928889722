"""Whether a run that is tracked by W&B offline is in W&B's file as it is in our own record."""

import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.experiment.registry import method_class
from harness.reference.selfcheck.findings import Asked, Finding, Say
from harness.reference.selfcheck.repeat import SETTINGS
from harness.reference.selfcheck.specs import methods_of, small_spec
from harness.results.folder import RunFolder
from harness.tracking.offline_file import read_history
from harness.training.events import Event, Notice
from harness.training.run import Run

SECTION = "tracking"


def check(asked: Asked, say: Say) -> list[Finding]:
    """The epochs of one short run, read back from W&B's offline file."""
    name = next((name for name in methods_of(asked, "quick") if method_class(name).trains), None)
    if name is None:
        return [Finding(SECTION, "W&B offline", "left out", "nothing trains")]
    say(f"{name}, W&B offline")
    return asked.items.look(SECTION, "W&B offline", partial(_track, name, asked))


def _track(name: str, asked: Asked) -> list[Finding]:
    """Compute a run, and read both of its records."""
    notices: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Notice):
            notices.append(event.text)

    with TemporaryDirectory(dir=asked.folder) as folder:
        run = Run(small_spec(name, asked, *SETTINGS, "wandb.mode=offline"), Path(folder), listen)
        run.execute()
        return compare(name, run.folder, notices)


def compare(name: str, folder: RunFolder, notices: list[str]) -> list[Finding]:
    """The losses in W&B's file beside those of our own record.

    Args:
        name: of the method.
        folder: of its run.
        notices: that the run gave, which say why W&B failed.
    """
    kept = [json.loads(line)["loss"] for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    files = sorted(folder.path.glob("wandb/offline-run-*/*.wandb"))
    if not files:
        why = notices[-1] if notices else "W&B wrote none"
        return [Finding(SECTION, name, "W&B's offline file", why, "", "one", ok=False)]
    sent = [row["train/loss"] for row in read_history(files[0]) if "train/loss" in row]
    wrong = sum(one != other for one, other in zip(kept, sent, strict=False))
    return [
        Finding(SECTION, name, "epochs in W&B's offline file", len(sent), "", len(kept), len(sent) == len(kept)),
        Finding(SECTION, name, "losses that differ from our record", wrong, "", 0, wrong == 0),
    ]
