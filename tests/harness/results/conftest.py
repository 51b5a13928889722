"""Shared by the tests of results: a run's folder, and a disk that is full."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from harness.experiment.spec import RunSpec, parse_run_spec
from harness.results.folder import RunFolder

FilesUpTo = Callable[[int], AbstractContextManager[None]]


@contextmanager
def limit_of_files(size: int) -> Iterator[None]:
    """While it lasts, no file can grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def files_up_to() -> FilesUpTo:
    """`with files_up_to(1000)`: no file can grow beyond 1000 bytes."""
    return limit_of_files


@pytest.fixture
def spec() -> RunSpec:
    """A spec of Skip Tuning with one evaluation, base."""
    evaluate = [{"name": "base", "dataset": "emoji", "classes": "base"}]
    return parse_run_spec({"method": "skip", "evaluate": evaluate})


@pytest.fixture
def folder(tmp_path: Path, spec: RunSpec) -> RunFolder:
    """The folder of that run, prepared for it."""
    run = RunFolder(tmp_path, spec.id)
    run.create()
    run.prepare(spec)
    return run
