"""Trackio: one run of the project in its local database, or where its own variables say; delivered as a whole."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import trackio

from harness.tracking.contents import EPOCH, STEP, Ending, Opening, Row

log = logging.getLogger("skipbench")
# The name "step" is Trackio's own.
AXES = {EPOCH: "epoch", STEP: "step/number"}


class TrackioSink:
    """A run at Trackio. It is sent when it is complete, so that no interrupted start leaves half of it behind."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._rows: list[Row] = []

    def log(self, rows: Sequence[Row]) -> None:
        """Keep the rows for the end."""
        self._rows = list(rows)

    def finish(self, ending: Ending) -> None:
        """Send everything; rows are numbered in their order, and say their epoch or step."""
        opening = self._opening
        config = {**opening.flat_config, "notes": opening.notes, "tags": ", ".join(opening.tags)}
        name = f"{opening.name} {opening.run_id}"
        summary = {key: value for key, value in ending.summary.items() if value is not None}
        with quiet():
            run = trackio.init(project=opening.project, name=name, group=opening.group, config=config, embed=False)
            for number, row in enumerate(self._rows):
                run.log({AXES[row.axis]: row.number, **row.values}, step=number)
            run.log({**summary, **self._media(ending)}, step=len(self._rows))
            run.finish()

    @staticmethod
    def _media(ending: Ending) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, several in ending.media.predictions.items():
            for number, one in enumerate(several):
                if one.picture is not None:
                    found[f"predictions/{name}/{number}"] = trackio.Image(one.picture, caption=one.caption)
        for name, confusions in ending.media.confusions.items():
            rows = [list(pair) for pair in confusions.pairs()]
            if rows:
                found[f"confusions/{name}"] = trackio.Table(columns=["class", "taken for", "images"], data=rows)
        return found


@contextmanager
def quiet() -> Iterator[None]:
    """Write what Trackio prints of every run to the run's log: the terminal is for results."""
    said = StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for line in said.getvalue().splitlines():
            log.info("Trackio: %s", line)
