"""Shared by all tests: the embedded backbone, loaded once, and nothing that leaves this machine."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import harness  # before torch: it sets how torch's threads wait
from harness.clip.load import load_backbone
from harness.clip.towers import CLIP
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec

GOLDEN = Path(__file__).parent / "golden"
os.environ["WANDB_MODE"] = "disabled"
os.environ["TERM"] = "dumb"  # no colours and 80 columns, wherever the tests run
os.environ.pop("DATA", None)
assert harness.__version__


@pytest.fixture
def clip() -> CLIP:
    """The embedded CLIP; loaded anew, since methods unfreeze and train it."""
    return load_backbone("clip-emoji")


@pytest.fixture
def golden() -> Path:
    """The folder of reference vectors."""
    return GOLDEN


@pytest.fixture
def make_spec() -> Callable[..., RunSpec]:
    """Spec of one small run on the embedded benchmark: make_spec('skip', 'train.epochs=1')."""

    def make(method: str, *overrides: str, seed: int = 1, shots: int = 16) -> RunSpec:
        changes = {"methods": [method], "seeds": [seed], "shots": [shots], "recipe": "official"}
        depth = {"skip": ["skip.depth=3"]}.get(method, [])
        experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes)
        return expand(experiment, parse_overrides([*depth, *overrides]))[0]

    return make
