"""TensorBoard: event files in `tensorboard/` of the run's folder, so that one `--logdir` shows all runs."""

import json
import shutil
from collections.abc import Sequence

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from harness.tracking.contents import Ending, Opening, Row

FOLDER = "tensorboard"


class TensorBoardSink:
    """A run's event files, written anew by every start: all rows come from our record."""

    def __init__(self, opening: Opening) -> None:
        place = opening.folder / FOLDER
        shutil.rmtree(place, ignore_errors=True)
        self._writer = SummaryWriter(str(place))
        self._rows = 0
        self._writer.add_text("notes", f"{opening.name}\n\n    {opening.notes}")
        config = json.dumps(opening.config, indent=2, ensure_ascii=False)
        self._writer.add_text("config", "\n".join(f"    {line}" for line in config.splitlines()))

    def log(self, rows: Sequence[Row]) -> None:
        """Write the rows that are new."""
        for row in rows[self._rows :]:
            for key, value in row.values.items():
                self._writer.add_scalar(key, value, row.number)
        self._rows = len(rows)
        self._writer.flush()

    def finish(self, ending: Ending) -> None:
        """Write the summary as scalars at step 0, tables, and pictures; artifacts stay where they are."""
        for key, value in ending.summary.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(f"summary/{key}", value, 0)
            elif value is not None:
                self._writer.add_text(f"summary/{key}", str(value))
        for name, several in ending.media.predictions.items():
            for number, one in enumerate(several):
                if one.picture is not None:
                    pixels = np.asarray(one.picture)
                    self._writer.add_image(f"predictions/{name}/{number} {one.caption}", pixels, dataformats="HWC")
        for name, found in ending.media.confusions.items():
            lines = [f"| {true} | {predicted} | {count} |" for true, predicted, count in found.pairs()]
            self._writer.add_text(
                f"confusions/{name}", "\n".join(["| class | taken for | images |", "|-|-|-|", *lines])
            )
        for name, pairs in ending.media.classes.items():
            lines = [f"| {cls} | {accuracy:.2f} |" for cls, accuracy in pairs]
            self._writer.add_text(f"classes/{name}", "\n".join(["| class | accuracy |", "|-|-|", *lines]))
        for path in ending.files:
            if path.is_file():
                text = path.read_text(errors="replace").splitlines()
                self._writer.add_text(path.name, "\n".join(f"    {line}" for line in text))
        self._writer.close()
