"""The numbers that methods of one track are ranked by: one for each method and data set, and for each seed.

Under a protocol with target data sets these are the units, under any other the data sets that runs train on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pandas as pd

from harness.experiment.protocols import Layout, Protocol, find_protocol
from harness.report.runs import groups, in_order
from harness.report.statistics import units_of
from harness.results.folder import DONE
from harness.results.metrics import ACCURACY, METRICS, SummaryMetric
from harness.statistics.scores import Scores
from harness.text import counted


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one protocol, number of shots (and source data set) in one track.

    Attributes:
        protocol: of the runs.
        heading: of the track.
        track: its name.
        where: shots and source data set, in words.
        name: for files, made of these.
        score: title of what is scored, such as H.
        values: method -> unit -> score of the mean over seeds, in percent; gaps are absent.
        by_seed: (method, seed with that of the k-shot sample) -> unit -> score.
        runs: that it was made of.
        units: data sets, in order.
        is_ranked: whether methods of this track are ranked.
    """

    protocol: Protocol
    heading: str
    track: str
    where: str
    name: str
    score: str
    values: dict[str, dict[str, float]]
    by_seed: dict[tuple[str, str], dict[str, float]]
    runs: pd.DataFrame
    units: tuple[str, ...]
    is_ranked: bool

    @property
    def title(self) -> str:
        """For readers."""
        return f"{self.protocol.name}, {self.where}, {self.heading}"

    @property
    def methods(self) -> list[str]:
        """Labels with at least one score."""
        return list(self.values)

    def means(self) -> dict[str, float]:
        """Method -> mean over all units, the best first; without methods that lack a unit."""
        whole = {label: cells for label, cells in self.values.items() if set(cells) == set(self.units)}
        means = {label: sum(cells.values()) / len(self.units) for label, cells in whole.items()}
        return dict(sorted(means.items(), key=lambda item: (-item[1], item[0])))

    def complete(self) -> tuple[Scores, tuple[str, ...]] | None:
        """Scores without gaps, and sentences about what was left out; None if there are no scores."""
        if not self.values:
            return None
        seeds = min(len([1 for label, _ in self.by_seed if label == method]) for method in self.values)
        found = Scores.complete(self.values, seeds=seeds)
        return found.scores, found.left_out

    def seeds_of(self, method: str) -> list[float]:
        """Of every seed that has all units: the mean over units."""
        rows = [row for (label, _), row in self.by_seed.items() if label == method]
        return [
            sum(row[unit] for unit in self.units) / len(self.units) for row in rows if set(self.units) <= row.keys()
        ]


def score_tables(runs: pd.DataFrame, ranked: frozenset[str]) -> list[ScoreTable]:
    """All score tables of some runs, track by track.

    Args:
        runs: as `runs_frame` gives them.
        ranked: names of the tracks whose methods are ranked.
    """
    found = []
    for (protocol_name, heading), group in groups(runs, "protocol", "track"):
        protocol = find_protocol(str(protocol_name))
        done = group[group["state"] == DONE]
        if done.empty:
            continue
        for where, name, part in parts_of(protocol, done):
            seeds = dict(scores_by_seed(protocol, part))
            values = {label: cells for label in in_order(part["label"]) if (cells := scores_of(protocol, part, label))}
            units = dict.fromkeys(unit for cells in values.values() for unit in cells)
            track = str(done["track_name"].iloc[0])
            found.append(
                ScoreTable(
                    protocol=protocol,
                    heading=str(heading),
                    track=track,
                    where=where,
                    name=name,
                    score=METRICS[protocol.headline].title if protocol.layout == Layout.PARTS else ACCURACY,
                    values=values,
                    by_seed=seeds,
                    runs=part,
                    units=tuple(units),
                    is_ranked=track in ranked,
                )
            )
    return found


def parts_of(protocol: Protocol, runs: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The runs whose scores stand in one table: words, the same for a file name, and the runs."""
    if protocol.layout == Layout.TARGETS:
        for source, shots in product(in_order(runs["dataset"]), sorted(runs["shots"].unique())):
            part = runs[(runs["dataset"] == source) & (runs["shots"] == shots)]
            if not part.empty:
                yield f"trained on {source}, {counted(int(shots), 'shot')}", f"{source}-{shots}shot", part
    else:
        for shots in sorted(runs["shots"].unique()):
            yield counted(int(shots), "shot"), f"{shots}shot", runs[runs["shots"] == shots]


def scores_by_seed(protocol: Protocol, runs: pd.DataFrame) -> Iterator[tuple[tuple[str, str], dict[str, float]]]:
    """(label, seed with that of the k-shot sample) -> unit -> score."""
    for (label, draw), group in groups(runs.assign(draw=units_of(runs)), "label", "draw"):
        yield (str(label), str(draw)), scores_of(protocol, group, str(label))


def scores_of(protocol: Protocol, runs: pd.DataFrame, label: str) -> dict[str, float]:
    """Unit -> score of one method, of its mean accuracies over the seeds of these runs."""
    found: dict[str, float] = {}
    for dataset, group in groups(runs[runs["label"] == label], "dataset"):
        means = accuracies_of(group)
        if protocol.layout == Layout.TARGETS:
            found |= {name: value for name, value in means.items() if name != dataset}
            continue
        metric = METRICS[protocol.headline]
        if isinstance(metric, SummaryMetric):
            value = metric.of_accuracies(str(dataset), means)
        else:
            value = means.get(protocol.parts[0].name)
        if value is not None:
            found[str(dataset)] = value
    return found


def accuracies_of(runs: pd.DataFrame) -> dict[str, float]:
    """Evaluation -> mean accuracy over the seeds of some runs, in percent."""
    prefix = f"{ACCURACY}."
    columns = [str(name) for name in runs.columns if str(name).startswith(prefix)]
    means = runs[columns].astype(float).mean()
    return {name.removeprefix(prefix): float(means[name]) for name in columns if means[name] == means[name]}
