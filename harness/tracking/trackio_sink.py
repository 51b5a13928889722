"""Trackio: one run of the project in its local database, or where its own variables say; delivered as a whole."""

from collections.abc import Sequence
from typing import Any

import trackio

from harness.tracking.contents import Ending, Opening, Row


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
        run = trackio.init(project=opening.project, name=name, group=opening.group, config=config, embed=False)
        for number, row in enumerate(self._rows):
            run.log({row.axis: row.number, **row.values}, step=number)
        run.log({**ending.summary, **self._media(ending)}, step=len(self._rows))
        run.finish()

    @staticmethod
    def _media(ending: Ending) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, several in ending.media.predictions.items():
            for number, one in enumerate(several):
                if one.picture is not None:
                    told = f"{one.prediction.label} taken for {one.prediction.predicted}"
                    found[f"predictions/{name}/{number}"] = trackio.Image(one.picture, caption=told)
        return found
