"""The footnotes of a table: what a reader must know to compare it with another, one sentence each."""

from collections import Counter

import pandas as pd

from harness.report.labels import NUMBERED
from harness.report.method_table import listed, memory_note
from harness.report.rounding import rounding_notes
from harness.report.run_notes import run_notes
from harness.report.runs import TUNED
from harness.report.statistics import FEWEST_PAIRS, SIGNIFICANCE, units_of
from harness.report.table import AVERAGE, COSTS, INCOMPLETE, Table
from harness.report.track_tables import track_notes
from harness.report.wordings import wording_notes
from harness.report.zero_shot import BELOW_NOTE
from harness.results.folder import DAMAGED, DONE, FAILED, INTERRUPTED, MISSING, RUNNING
from harness.results.metrics import summary_metrics
from harness.text import counted

MISSING_MARK, FAILED_MARK, PUBLISHED_MARK, WORSE_MARK = "–", "–‡", "†", "*"
SHOWN_FAILURES = 3


def footnotes(table: Table, transpose: bool = False) -> list[str]:
    """The sentences below a table; `transpose` tells whether its rows are shown as columns."""
    if table.runs.empty:
        return list(table.notes)
    known = table.runs[table.runs["state"] == DONE]
    sentences = [*table.notes, *key_note(table), seeds_note(table)]
    averages = "; of an average: that of the averages" if any(cell.block == AVERAGE for cell in table.cells) else ""
    named = {name for cell in table.cells for name in (cell.row, cell.column)}
    sentences += [f"{metric.title}: {metric.about}{averages}." for metric in summary_metrics() if metric.title in named]
    where = "column" if table.by_column != transpose else "row"
    if any(cell.rank for cell in table.cells):
        sentences.append(f"Bold: best of its {where}, underlined: second, by unrounded values, ties all.")
    sentences += tests_note(table)
    sentences += [BELOW_NOTE] if any(cell.below for cell in table.cells) else []
    sentences += [*rounding_notes(known), *wording_notes(known)]
    sentences += states_note(table)
    if table.sources:
        sentences.append(f"{PUBLISHED_MARK}: published, not ours, not ranked: {'; '.join(table.sources)}.")
    sentences += leaderboard_note(table)
    sentences += track_notes(table.runs)
    sentences.append(
        f"Backbone {listed(known, 'backbone')}, precision {listed(known, 'precision')}, "
        f"recipe {listed(known, 'recipe')}, templates {templates_note(known)}, device {listed(known, 'device')}. "
        f"{'; '.join(sorted(known['versions'].unique()))}."
    )
    sentences += run_notes(known)
    if any(cell.block == COSTS or table.by_column for cell in table.cells):
        sentences.append(memory_note(known))
    return sentences


def key_note(table: Table) -> list[str]:
    """What the numbers of variants stand for."""
    return [f"{label}: {settings}." for label, settings in variant_key(table.runs).items()]


def variant_key(runs: pd.DataFrame) -> dict[str, str]:
    """Numbered label -> the settings that it stands for, in the order of the runs."""
    if "variant" not in runs:
        return {}
    pairs = dict(zip(runs["label"].tolist(), runs["variant"].tolist(), strict=True))
    return {label: settings for label, settings in pairs.items() if NUMBERED in label}


def seeds_note(table: Table) -> str:
    """The number of seeds behind the means."""
    groups = {str(label): group for label, group in table.runs.groupby("label", sort=False)}
    planned = {label: group["seed"].nunique() for label, group in groups.items()}
    samples = {label: samples_apart(group) for label, group in groups.items()}
    usual = max(planned.values())
    most = max(samples.values())
    others = [
        f"{label} {counted(count, 'seed')}{of_samples(samples[label])}" if most else f"{label} {count}"
        for label, count in planned.items()
        if (count, samples[label]) != (usual, most)
    ]
    several = any(units_of(group).nunique() > 1 for group in groups.values())
    mean = "Accuracy in percent, mean ± sample std over" if several else "Accuracy in percent, of"
    fewer = f" ({', '.join(others)})" if others else ""
    partly = any(0 < cell.seeds < cell.planned for cell in table.cells)
    few = " (n): n seeds only, the others are not computed." if partly else ""
    return f"{mean} {counted(usual, 'seed')}{of_samples(most)}{fewer}.{few}"


def samples_apart(runs: pd.DataFrame) -> int:
    """How many k-shot samples the runs of one method have on a data set; 0 where each seed draws its own.

    Samples are told apart by the hash of their training images, once the runs are computed: several seeds may draw one.
    """
    usual = "sample_source" not in runs or (runs["sample_source"].fillna("") == "").all()
    if "sample_seed" not in runs or (usual and (runs["sample_seed"] == runs["seed"]).all()):
        return 0
    known = "sample_hash" in runs and runs["sample_hash"].notna().any()
    cells = runs.groupby(["dataset", "tail", "shots"])
    return int(cells["sample_hash" if known else "sample_seed"].nunique().max())


def of_samples(samples: int) -> str:
    """The number of samples behind that of seeds, where it is told."""
    return f", {counted(samples, 'sample')}" if samples else ""


def tests_note(table: Table) -> list[str]:
    """The rows in which methods were tested against the best, the number of pairs, and rows with too few pairs."""
    tested: list[str] = []
    left_out: list[str] = []
    for row, tests in table.tests.items():
        if tests:
            counts = sorted({test.pairs for test in tests})
            pairs = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
            noun = "pair" if pairs == "1" else "pairs"
            enough = counts[-1] >= FEWEST_PAIRS
            (tested if enough else left_out).append(f"{' '.join(part for part in row if part)}: {pairs} {noun}")
    sentences = []
    if tested:
        sentences.append(
            f"{WORSE_MARK}: worse than the best of its row with p < {SIGNIFICANCE} (Wilcoxon's signed ranks over "
            f"seeds x data sets, two-sided, Holm's correction; {', '.join(tested)})."
        )
    if left_out:
        few = f"fewer than {FEWEST_PAIRS} can show nothing"
        sentences.append(f"No paired test against the best ({', '.join(left_out)}; {few}).")
    return sentences


def states_note(table: Table) -> list[str]:
    """The meaning of dashes, the number of runs concerned, and why runs failed."""
    sentences = []
    states = {cell.state for cell in table.cells}
    counts = Counter(table.runs["state"])
    total = counted(len(table.runs), "run")
    left = counts[MISSING] + counts[INTERRUPTED] + counts[RUNNING]
    if left or MISSING in states:
        parts = [f", {counts[state]} of them {state}" for state in (INTERRUPTED, RUNNING) if counts[state]]
        are = "is" if left == 1 else "are"
        nothing = "in another track, or not run" if table.track else "there is no such run"
        missing = f"missing; {left} of {total} {are} not computed{''.join(parts)}" if left else nothing
        sentences.append(f"{MISSING_MARK}: {missing}.")
    failed = table.runs[table.runs["state"].isin([FAILED, DAMAGED])]
    if len(failed):
        shown = [f"{row['name']}: {row['reason']}" for _, row in failed.head(SHOWN_FAILURES).iterrows()]
        more = f"; and {len(failed) - SHOWN_FAILURES} more" if len(failed) > SHOWN_FAILURES else ""
        sentences.append(f"{FAILED_MARK}: failed; {len(failed)} of {total} ({'; '.join(shown)}{more}).")
    if INCOMPLETE in states:
        sentences.append(f"{MISSING_MARK} in averages: not every data set is there.")
    if any(cell.mean is None and cell.state == DONE for cell in table.cells):
        sentences.append(f"{MISSING_MARK} in costs: the method has no such phase.")
    return sentences


def leaderboard_note(table: Table) -> list[str]:
    """How tuned recipes were found; empty for the leaderboard of fixed recipes."""
    if table.leaderboard != TUNED:
        return []
    budgets = [
        f"{', '.join(group['label'].unique())}: {budget!s}"
        for budget, group in table.runs.groupby("tuned", sort=False)
        if budget
    ]
    return [f"Tuned: {'; '.join(budgets)}."]


def templates_note(runs: pd.DataFrame) -> str:
    """The prompt templates in quotes; if there are many, only their number."""
    several = sorted(runs["template"].dropna().unique()) if "template" in runs else []
    if len(several) > 3:
        return f"of the data sets ({len(several)})"
    return ", ".join(f'"{template}"' for template in several)
