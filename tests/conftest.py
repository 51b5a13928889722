"""Shared by all tests: the embedded backbone and a tiny one, and nothing that leaves this machine."""

import copy
import gc
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

import harness  # before torch: it sets how torch's threads wait
import methods
from harness.clip.backbones import bundled
from harness.clip.configuration import read_configuration
from harness.clip.load import build, load_backbone
from harness.clip.towers import CLIP
from harness.experiment.grid import expand, load_experiment
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec

# Files that take the longest, as `pytest --durations=0` shows: `make test-fast` leaves them out. Every room keeps some
# files, among them vectors of every method and real runs in processes.
SLOW = (
    "harness/cli/test_check.py",
    "harness/cli/test_cli.py",
    "harness/cli/test_damage.py",
    "harness/cli/test_estimate.py",
    "harness/cli/test_grid.py",
    "harness/cli/test_own_data.py",
    "harness/cli/test_predict.py",
    "harness/cli/test_selfcheck.py",
    "harness/clip/test_beside.py",
    "harness/clip/test_load.py",
    "harness/clip/test_speedups.py",
    "harness/clip/test_towers.py",
    "harness/estimate/test_estimator.py",
    "harness/estimate/test_fit.py",
    "harness/estimate/test_fitted_estimates.py",
    "harness/estimate/test_resnet_estimates.py",
    "harness/experiment/test_protocols.py",
    "harness/reference/contract/test_properties.py",
    "harness/reference/speed/test_benchmark.py",
    "harness/schedule/test_admission.py",
    "harness/schedule/test_failures.py",
    "harness/schedule/test_kills.py",
    "harness/schedule/test_takeover.py",
    "harness/tracking/test_upload.py",
    "harness/tracking/test_wandb_run.py",
    "harness/training/test_feature_storage.py",
    "harness/training/test_float64.py",
    "harness/training/test_precision.py",
    "harness/training/test_resuming.py",
    "harness/training/test_run.py",
    "harness/training/test_steady_steps.py",
    "harness/training/test_trainer.py",
    "harness/training/test_validation.py",
    "harness/tune/test_study.py",
    "test_examples.py",
    "test_matrix.py",
    "test_readme.py",
    "test_wheel.py",
)
# Whole commands in processes of their own, which wait for each other: first, so that other tests fill the cores
# meanwhile, and none of them is left to the end, when nothing else is to do.
FIRST = (
    "harness/cli/test_cli.py",
    "harness/schedule/test_failures.py",
    "harness/schedule/test_kills.py",
    "harness/schedule/test_takeover.py",
    "harness/tune/test_study.py",
    "test_example_methods.py",
    "test_examples.py",
    "test_readme.py",
    "test_wheel.py",
)
GOLDEN = Path(__file__).parent / "golden"
os.environ["WANDB_MODE"] = "disabled"
os.environ["TERM"] = "dumb"  # no colours and 80 columns, wherever the tests run
os.environ.pop("DATA", None)
assert harness.__version__
# The same examples every time, so that a change is judged and not its luck. SKIPBENCH_RANDOM_EXAMPLES=1 draws new ones.
TOO_SLOW = [hypothesis.HealthCheck.too_slow]  # on a busy machine anything may be
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=TOO_SLOW)
if not os.environ.get("SKIPBENCH_RANDOM_EXAMPLES"):
    hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep image features and pictures for the tests alone, and not in the cache folder of whoever runs them.

    All processes of the tests share them, as runs do: what one has computed is there for the others.
    """
    folder = tmp_path_factory.getbasetemp()
    # pytest-xdist gives every process a folder of its own within the common one.
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    os.environ["SKIPBENCH_FEATURES"] = str(folder / "features")
    os.environ["SKIPBENCH_PICTURES"] = str(folder / "pictures")


@pytest.fixture(scope="session")
def embedded() -> CLIP:
    """The embedded CLIP as it is loaded, which no test may change."""
    return load_backbone("clip-emoji")


@pytest.fixture
def clip(embedded: CLIP) -> CLIP:
    """The embedded CLIP; a copy, since methods unfreeze and train it."""
    return copy.deepcopy(embedded, {id(embedded.tokenizer): embedded.tokenizer})


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a CLIP with random weights: two narrow blocks in each tower, images of 16 pixels."""
    import torch  # not at the top, where it would come before harness
    from safetensors.torch import save_file

    folder, embedded = tmp_path_factory.mktemp("tiny"), bundled()["clip-emoji"]
    config = json.loads(embedded.with_suffix(".json").read_text())
    config["embed_dim"] = 32
    config["vision_cfg"].update(layers=2, width=32, head_width=16, image_size=16)
    config["text_cfg"].update(layers=2, width=32, heads=2)
    config["preprocess_cfg"]["size"] = 16
    checkpoint = folder / "tiny.safetensors"
    written = checkpoint.with_suffix(".json")
    written.write_text(json.dumps(config))
    torch.manual_seed(0)
    save_file(
        {name: value.contiguous() for name, value in build(read_configuration(written)).state_dict().items()},
        checkpoint,
    )
    shutil.copy(embedded.parent / config["text_cfg"]["tokenizer_kwargs"]["bpe_path"], folder)
    return checkpoint


@pytest.fixture(scope="session")
def tiny_resnet(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a CLIP with random weights whose image tower is a narrow ResNet of five bottlenecks."""
    import torch
    from safetensors.torch import save_file

    from tests.resnets import draw_norms

    folder = tmp_path_factory.mktemp("tiny_resnet")
    config = json.loads(tiny.with_suffix(".json").read_text())
    config["vision_cfg"] = {"layers": [1, 2, 1, 1], "width": 8, "head_width": 32, "patch_size": None, "image_size": 64}
    config["preprocess_cfg"]["size"] = 64
    checkpoint = folder / "resnet.safetensors"
    checkpoint.with_suffix(".json").write_text(json.dumps(config))
    torch.manual_seed(0)
    network = draw_norms(build(read_configuration(checkpoint.with_suffix(".json"))))
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, checkpoint)
    shutil.copy(tiny.parent / "bpe_4k.txt.gz", folder)
    return checkpoint


@pytest.fixture
def golden() -> Path:
    """The folder of reference vectors."""
    return GOLDEN


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., RunSpec]:
    """Spec of one small run on the embedded benchmark: make_spec('skip', 'train.epochs=1')."""

    def make(method: str, *overrides: str, seed: int = 1, shots: int = 16) -> RunSpec:
        changes = {"methods": [method], "seeds": [seed], "shots": [shots], "recipe": "official"}
        depth = {"skip": ["skip.depth=3"]}.get(method, [])
        experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes)
        return expand(experiment, parse_overrides([*depth, *overrides]))[0]

    return make


@pytest.fixture
def add_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Add a method file in a folder of its own, for the time of a test: add_method("mine", code)."""
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    added: list[str] = []

    def add(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        importlib.invalidate_caches()
        added.append(name)

    yield add
    for name in added:
        sys.modules.pop(f"methods.{name}", None)
        vars(methods).pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files, and begin with those that wait for processes."""
    slow, first = ({Path(__file__).parent / name for name in names} for names in (SLOW, FIRST))
    assert all(path.is_file() for path in slow | first), "SLOW and FIRST name files that exist"
    for item in items:
        if item.path in slow:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path not in first)


def pytest_collection() -> None:
    """Let the garbage collector rest while modules are imported, nearly all of which stay."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector never again look at what lives as long as the tests: modules, and the tests."""
    gc.enable()
    gc.collect()
    gc.freeze()
