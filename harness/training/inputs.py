"""What decides a run's result without being named in its spec by path, and whether it has changed since the run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import methods
from harness.clip.texts import prompts_of
from harness.data.datasets import find_dataset, find_folder
from harness.data.own_names import is_own
from harness.data.readers import Splits
from harness.errors import UserError
from harness.experiment.registry import method_file
from harness.experiment.spec import RunSpec
from harness.experiment.templates import is_described, templates_of
from harness.machine.digests import file_digest
from harness.results.record import InputFile, Result

OWN_METHODS = Path(methods.__file__).parent
"""The folder of the methods that come with the project: their version is that of the project."""


def datasets_of(spec: RunSpec) -> list[str]:
    """The data sets that a run reads."""
    return list(dict.fromkeys([spec.data.dataset, *(item.dataset for item in spec.evaluate)]))


def input_files(spec: RunSpec, splits: Mapping[str, Splits]) -> tuple[InputFile, ...]:
    """The files that decide a run's result without being named in its spec.

    Args:
        spec: the run.
        splits: data set -> as it was read.
    """
    found = []
    for name, read in splits.items():
        if not is_own(name):  # what is in data of the user's own is part of the run's id
            folder = find_folder(find_dataset(name), spec.runtime.find_data_root())
            for source in read.sources:
                file = os.path.relpath(source, folder)
                found.append(InputFile(kind="data set", name=name, file=file, sha256=file_digest(source)))
    path = plug_in_file(spec.method)
    if path:
        found.append(InputFile(kind="method", name=spec.method, file=path.name, sha256=file_digest(path)))
    return tuple(found)


def plug_in_file(method: str) -> Path | None:
    """The file of a method that does not come with the project; None for one that does."""
    path = method_file(method)
    return None if path.parent == OWN_METHODS else path


def changes_since(result: Result) -> list[str]:
    """What decides a result and is not what it was, a few words each. What is not on this machine has not changed."""
    return [*changed_files(result.spec, result.inputs), *changed_templates(result)]


def changed_files(spec: RunSpec, inputs: Sequence[InputFile]) -> Iterator[str]:
    """The files of a run, as they were, whose content is another now."""
    root = spec.runtime.find_data_root()
    for known in inputs:
        try:
            if known.kind == "method":
                path = plug_in_file(known.name)
            else:
                path = find_folder(find_dataset(known.name), root) / known.file
            if path and file_digest(path) != known.sha256:
                yield f"{known.file} of {known.kind} '{known.name}'"
        except (OSError, UserError):
            continue


def changed_templates(result: Result) -> Iterator[str]:
    """The prompt templates of a result that are others now."""
    if is_described(result.spec):  # what is in a file of descriptions is part of the run's id
        return
    for item in result.evaluations:
        if item.template is not None and not is_own(item.dataset):
            template = templates_of(result.spec, item.dataset)
            if template != item.template:
                yield f"the prompt template of data set '{item.dataset}', now '{' | '.join(prompts_of(template))}'"
