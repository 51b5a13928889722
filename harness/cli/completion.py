"""What a shell completes beside commands and options: names of methods and ids of runs. Nothing slow is imported."""

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

VARIABLE = "_SKIPBENCH_COMPLETE"
"""By which a shell asks for completions, however the program was started."""


def complete_methods(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Names of methods, each after those that stand before the last comma."""
    from harness.experiment.registry import method_names

    before, comma, begun = word.rpartition(",")
    return [CompletionItem(f"{before}{comma}{name}") for name in method_names() if name.startswith(begun)]


def complete_ids(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Ids of the runs in the results folder; paths too, where there is no such run."""
    results = Path(context.params.get("results") or os.environ.get("RESULTS") or "results")
    try:
        names = sorted(name for name in os.listdir(results / "runs") if name.startswith(word))
    except OSError:
        names = []
    return [CompletionItem(name) for name in names] or [CompletionItem(word, type="file")]
