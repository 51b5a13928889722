"""MLflow: one run of the experiment that is called like the project, at MLFLOW_TRACKING_URI or beside the results."""

import json
import logging
import os
import time
from collections.abc import Sequence

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from harness.tracking.contents import Ending, Opening, Row

ID_TAG = "skipbench.id"
# In the results folder.
DATABASE, FILES = "mlflow.db", "mlflow-files"
# What servers take in one request, and of one value.
AT_ONCE, LONGEST_VALUE = 100, 500


class MLflowSink:
    """A run at MLflow. One of the same id that an interrupted start left is deleted first."""

    def __init__(self, opening: Opening) -> None:
        results = opening.folder.absolute().parents[1]
        server = os.environ.get("MLFLOW_TRACKING_URI")
        # MLflow tells on the terminal of every step in which it makes its database.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = MlflowClient(server or f"sqlite:///{results / DATABASE}")
        known = self._client.get_experiment_by_name(opening.project)
        # Of a database in a file MLflow would put files into the folder in which the command was called.
        files = None if server else (results / FILES).as_uri()
        place = known.experiment_id if known else self._client.create_experiment(opening.project, files)
        for old in self._client.search_runs([place], f"tags.`{ID_TAG}` = '{opening.run_id}'"):
            self._client.delete_run(old.info.run_id)
        tags = {ID_TAG: opening.run_id, "mlflow.note.content": opening.notes, "tags": ", ".join(opening.tags)}
        tags |= {"group": opening.group} if opening.group else {}
        self._run: str = self._client.create_run(place, tags=tags, run_name=opening.name).info.run_id
        self._rows = 0
        params = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in opening.flat_config.items()]
        for start in range(0, len(params), AT_ONCE):
            self._client.log_batch(self._run, params=params[start : start + AT_ONCE])

    def log(self, rows: Sequence[Row]) -> None:
        """Send the rows that are new."""
        new, now = rows[self._rows :], int(1000 * time.time())
        metrics = [Metric(key, float(value), now, row.number) for row in new for key, value in row.values.items()]
        self._send(metrics)
        self._rows = len(rows)

    def _send(self, metrics: Sequence[Metric]) -> None:
        for start in range(0, len(metrics), AT_ONCE):
            self._client.log_batch(self._run, metrics=metrics[start : start + AT_ONCE])

    def finish(self, ending: Ending) -> None:
        """Send the summary, tables as JSON, files and artifacts, and end the run."""
        now, numbers = int(1000 * time.time()), {}
        for key, value in ending.summary.items():
            if isinstance(value, int | float):
                numbers[key] = float(value)
            elif value is not None:
                self._client.log_batch(self._run, tags=[RunTag(key, str(value)[:LONGEST_VALUE])])
        self._send([Metric(key, value, now, 0) for key, value in numbers.items()])
        tables = {
            "predictions": {
                name: [one.prediction.model_dump() for one in some] for name, some in ending.media.predictions.items()
            },
            "confusions": {name: found.pairs() for name, found in ending.media.confusions.items()},
            "classes": ending.media.classes,
        }
        for name, content in tables.items():
            if content:
                self._client.log_text(self._run, json.dumps(content, ensure_ascii=False), f"{name}.json")
        for path in (*ending.files, *ending.artifacts):
            if path.is_file():
                self._client.log_artifact(self._run, str(path))
        self._client.set_terminated(self._run)
