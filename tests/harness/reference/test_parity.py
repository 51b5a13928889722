"""Our methods reproduce the official implementations, and the check notices when they would not."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import UserError
from harness.reference.parity.comparison import Comparison, worst_by_quantity, worst_element
from harness.reference.parity.replay import check_folder
from harness.reference.parity.vectors import Vectors
from methods.base import Method
from methods.skip import SkipTuning
from tests.commands import ROOT

GOLDEN = ROOT / "tests" / "golden"
VECTORS = sorted(path.stem for path in GOLDEN.glob("*.json"))


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    found, unknown = check_folder(GOLDEN)
    assert not unknown
    return found


@pytest.mark.parametrize("vectors", VECTORS)
def test_methods_match_the_official_implementations(vectors: str, comparisons: list[Comparison]) -> None:
    mine = [item for item in comparisons if item.method == vectors]
    assert len(mine) >= 7
    assert [item for item in mine if not item.passed] == []


def test_every_stored_tensor_of_skip_tuning_is_compared(comparisons: list[Comparison]) -> None:
    quantities = {item.quantity for item in comparisons if item.method == "skip_tuning"}
    assert quantities >= {
        "tokens.base", "tokens.new", "trained tensors", "batches.batch_random", "batches.random",
        "select.reserve_mask", "cache.class_prototypes", "cache.text_mid", "cache.image_mid", "cache.text_out",
        "eval_logits_base_init", "train_logits", "train_losses", "grad", "grad_stats", "grad_sample", "after", "delta",
        "after_stats", "delta_stats", "eval_logits_base", "eval_logits_new",
    }  # fmt: skip


GIVEN = {"fs_labels", "eval_labels", "train_labels", "epoch_order", "const.enhanced_weight", "sample_index"}
"""Stored tensors that are given to our method, or that index others."""
NOT_KEPT = {
    "gda_base2new": {"const.new_means", "const.new_precision"},
    "vpt_deep": {"init"},
    "vpt_shallow": {"init"},
    "mmrl": {"init"},
}
"""What our method keeps only as part of something else (here of `const.new_W` and `const.new_b`), or draws."""


def quantity_of(name: str) -> str:
    """The quantity under which a stored tensor is reported."""
    parts = name.split(".")
    if parts[0] in ("init", "grad", "after1", "after", "best"):
        return parts[0]
    name = re.sub(r"^search_logits_\d+$", "search_logits", name)
    return re.sub(r"[._]b\d+$", "", re.sub(r"^fixed_C[-+0-9.e]+\.", "fixed_C.", name))


@pytest.mark.parametrize("vectors", [name for name in VECTORS if not Vectors(GOLDEN / f"{name}.json").is_first_form])
def test_every_stored_tensor_is_compared(vectors: str, comparisons: list[Comparison]) -> None:
    found = {item.quantity for item in comparisons if item.method == vectors}
    names = load_file(GOLDEN / f"{vectors}.safetensors").keys() - GIVEN
    stored = {quantity_of(name) for name in names if not name.startswith("mask.")}
    assert stored - found == NOT_KEPT.get(vectors, set())


def copy_vectors(golden: Path, to: Path, name: str) -> Path:
    """One method's vectors in a folder of their own."""
    for file in ("clip_tiny.safetensors", "inputs.safetensors", f"{name}.json", f"{name}.safetensors"):
        shutil.copy(golden / file, to / file)
    return to


def failures(folder: Path) -> set[str]:
    return {item.quantity for item in check_folder(folder)[0] if not item.passed}


def test_another_weight_decay_is_noticed(golden: Path, tmp_path: Path) -> None:
    folder = copy_vectors(golden, tmp_path, "finetune_start2")
    about = json.loads((folder / "finetune_start2.json").read_text())
    about["hyper"]["optimizer"]["weight_decay"] = 0.0
    (folder / "finetune_start2.json").write_text(json.dumps(about))
    assert failures(folder) >= {"after", "delta"}


def test_another_image_rate_is_noticed(golden: Path, tmp_path: Path) -> None:
    folder = copy_vectors(golden, tmp_path, "skip_tuning_staged")
    about = json.loads((folder / "skip_tuning_staged.json").read_text())
    about["hyper"]["method_options"]["OPTIM.STAGED_LR"] = False
    (folder / "skip_tuning_staged.json").write_text(json.dumps(about))
    assert "delta_sample" in failures(folder)


def test_a_changed_mask_is_noticed(golden: Path, tmp_path: Path) -> None:
    folder = copy_vectors(golden, tmp_path, "skip_tuning")
    tensors = load_file(folder / "skip_tuning.safetensors")
    tensors["select.reserve_mask"][-1] = True
    save_file(tensors, folder / "skip_tuning.safetensors")
    assert failures(folder) >= {"select.reserve_mask", "train_logits"}


def test_other_mathematics_is_noticed(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_vectors(golden, tmp_path, "skip_tuning")

    def warmer(scale: float) -> Callable[[Method, torch.Tensor, torch.Tensor], torch.Tensor]:
        original = Method.similarity_logits
        return lambda self, image, text: scale * original(self, image, text)

    monkeypatch.setattr(SkipTuning, "similarity_logits", warmer(1.001), raising=False)
    assert failures(folder) >= {"eval_logits_base_init", "train_logits", "eval_logits_new"}


def test_another_training_step_is_noticed(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_vectors(golden, tmp_path, "finetune_start2")
    loss = Method.loss
    monkeypatch.setattr(Method, "loss", lambda self, x, labels: 1.01 * loss(self, x, labels))
    assert failures(folder) >= {"train_losses", "grad", "grad_stats", "after", "delta"}


def test_a_missing_tensor_is_an_error_that_names_the_file(golden: Path, tmp_path: Path) -> None:
    folder = copy_vectors(golden, tmp_path, "zeroshot")
    (folder / "inputs.safetensors").unlink()
    with pytest.raises(UserError, match=r"zeroshot\.json is not a complete vector file"):
        check_folder(folder)


def test_a_folder_without_vectors_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no vectors of our methods"):
        check_folder(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        check_folder(tmp_path / "nowhere")


def test_worst_element_takes_the_element_that_is_worst_against_its_tolerance() -> None:
    theirs = torch.tensor([100.0, 0.0])
    error, tolerance = worst_element(torch.tensor([100.5, 0.2]), theirs, atol=0.1, rtol=0.1)
    assert (round(error, 6), round(tolerance, 6)) == (0.2, 0.1)
    assert worst_element(torch.tensor([float("nan")]), torch.zeros(1), 1.0)[0] != 0
    assert not Comparison("m", "q", *worst_element(torch.tensor([float("nan")]), torch.zeros(1), 1.0)).passed
    assert not Comparison("m", "q", *worst_element(torch.zeros(2), torch.zeros(3), 1.0)).passed
    assert Comparison("m", "q", *worst_element(torch.zeros(2), torch.zeros(2), 0.0, 0.0)).passed
    assert not Comparison("m", "q", *worst_element(torch.ones(2), torch.zeros(2), 0.0, 0.0)).passed


def test_worst_by_quantity_keeps_failures_and_nan() -> None:
    items = [
        Comparison("m", "q", 0.5, 1.0),
        Comparison("m", "q", float("nan"), 1.0),
        Comparison("m", "q", 0.9, 1.0),
        Comparison("m", "exact", 0.0, 0.0),
        Comparison("m", "exact", 2.0, 0.0),
        Comparison("m", "exact", 0.0, 0.0),
    ]
    worst = worst_by_quantity(items)
    assert [item.passed for item in worst] == [False, False]
