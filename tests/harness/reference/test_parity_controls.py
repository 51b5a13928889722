"""Negative controls: one thing of a method or its training is broken at a time, and replaying its vectors shows it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness.experiment.training_spec import TrainSpec
from harness.reference.parity import training
from harness.reference.parity.naming import find_method
from harness.reference.parity.replay import replay
from harness.reference.parity.vectors import Vectors
from methods.base import Method, Shots
from methods.clap import CLAP
from methods.gda import GDA
from methods.linear_probe import LinearProbe
from methods.lp_plus_plus import LPPlusPlus
from methods.prolip import ProLIP
from methods.taskres import TaskRes
from methods.tip_adapter import TipAdapter
from methods.zs_lp import ZSLP
from tests.commands import ROOT

GOLDEN = ROOT / "tests" / "golden"


def over(name: str, folder: Path = GOLDEN) -> set[str]:
    """The quantities of a vector file that are beyond their tolerance."""
    vectors = Vectors(folder / f"{name}.json")
    cls = find_method(vectors)
    assert cls is not None
    return {item.quantity for item in replay(cls, vectors) if not item.passed}


@pytest.fixture
def over_with(golden: Path, tmp_path: Path) -> Callable[..., set[str]]:
    """What is over where the description of some vectors says something else: over_with(vectors, key=value)."""

    def change(vectors: str, **changes: Any) -> set[str]:
        for file in ("clip_tiny.safetensors", "inputs.safetensors", f"{vectors}.safetensors"):
            shutil.copy(golden / file, tmp_path / file)
        about = json.loads((golden / f"{vectors}.json").read_text())
        for key, value in changes.items():
            place = about["hyper"] if key == "logit_scale" else about["hyper"]["optimizer"]
            assert place[key] != value
            place[key] = value
        (tmp_path / f"{vectors}.json").write_text(json.dumps(about))
        return over(vectors, tmp_path)

    return change


def test_residuals_of_normalised_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalised(self: TaskRes, classes: Tensor | None = None) -> Tensor:
        text = F.normalize(Method.text_features(self, classes), dim=-1)
        return text + self.config.residual_scale * self.residual

    monkeypatch.setattr(TaskRes, "text_features", normalised)
    assert over("taskres") >= {"grad", "eval_logits_base"}


def test_keys_averaged_after_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys(shots: Shots) -> Tensor:
        return F.normalize(F.normalize(shots.x, dim=-1).mean(dim=0), dim=-1)

    for module in ("tip_adapter", "tip_adapter_f"):
        monkeypatch.setattr(f"methods.{module}.cache_keys", keys)
    assert over("tip_adapter") >= {"cache.keys", "eval_logits_base_init", "eval_logits_base"}
    assert over("tip_adapter_f") >= {"cache.keys", "init"}


def test_keys_normalised_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_unit_keys(self: TipAdapter, image: Tensor) -> Tensor:
        return F.normalize(image, dim=-1) @ F.normalize(self.keys, dim=-1).T

    monkeypatch.setattr(TipAdapter, "affinity", of_unit_keys)
    assert over("tip_adapter_f") >= {"grad", "after, 99 %"}


def test_a_cleared_gradient_of_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    after_epoch = LPPlusPlus.after_epoch

    def clearing(self: LPPlusPlus, epoch: int, epochs: int) -> None:
        after_epoch(self, epoch, epochs)
        if (epoch + 1) % 10 == 0:
            self.alpha_gradient.zero_()

    monkeypatch.setattr(LPPlusPlus, "after_epoch", clearing)
    assert over("lp_plus_plus") >= {"alpha_history", "after", "after, 99 %", "eval_logits_base"}


def test_means_of_the_shots_as_first_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = LPPlusPlus.fit

    def means(self: LPPlusPlus, shots: Shots) -> None:
        fit(self, shots)
        self.classifier.weight.data /= shots.labels.bincount()[:, None]

    monkeypatch.setattr(LPPlusPlus, "fit", means)
    assert "init" in over("lp_plus_plus")


def test_a_rate_of_the_recipe_where_the_method_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LPPlusPlus, "parameter_groups", Method.parameter_groups)
    assert over("lp_plus_plus") >= {"after1", "after", "train_losses"}


@pytest.mark.parametrize("name", ["tip_adapter_f", "taskres", "taskres_enhanced"])
def test_no_weight_decay(name: str, over_with: Callable[..., set[str]]) -> None:
    assert "after, 99 %" in over_with(name, weight_decay=0.0)


def test_decay_that_is_decoupled(over_with: Callable[..., set[str]]) -> None:
    assert "after, 99 %" in over_with("taskres", name="AdamW")


@pytest.mark.parametrize("name", ["tip_adapter_f", "prolip"])
def test_the_usual_eps(name: str, over_with: Callable[..., set[str]]) -> None:
    assert over_with(name, eps=1e-8) >= {"after1, 99 %", "after, 99 %"}


@pytest.mark.parametrize("name", ["tip_adapter_f", "prolip"])
def test_a_schedule_that_is_not_stepped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainSpec, "lr_at", lambda self, epoch, lr, *moment, **settings: lr)
    assert over(name) >= {"train_lrs", "after, 99 %"}


def test_no_momentum(over_with: Callable[..., set[str]]) -> None:
    assert over_with("zs_lp", momentum=0.0) >= {"train_losses", "after"}


def test_another_order_of_the_batches(over_with: Callable[..., set[str]]) -> None:
    assert "train_logits" in over_with("tip_adapter_f", batch_order=[0, 2, 1, 0, 2, 1])


def test_distances_summed_over_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    def summed(self: CLAP, x: Tensor, labels: Tensor) -> Tensor:
        distance = (self.prototypes - self.texts).square().sum(dim=-1)
        return ZSLP.loss(self, x, labels) + (self.multipliers * distance).sum()

    monkeypatch.setattr(CLAP, "loss", summed)
    assert over("clap") >= {"train_losses", "after", "after, 99 %"}


def test_normalised_prototypes(monkeypatch: pytest.MonkeyPatch) -> None:
    build = ZSLP.build

    def normalised(self: ZSLP) -> None:
        build(self)
        self.prototypes.data = F.normalize(self.prototypes.data, dim=-1)

    monkeypatch.setattr(ZSLP, "build", normalised)
    assert "init" in over("zs_lp")


def test_no_trace_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "trace", lambda self: self.new_zeros(()))
    assert over("gda") >= {"const.precision", "const.W", "const.b", "search_logits", "eval_logits_base"}


def test_a_shrunk_covariance_of_the_base_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GDA, "official", GDA.official)
    monkeypatch.setitem(GDA.official.trainer_options, "GDABaseToNew", {"covariance": "pooled"})
    assert over("gda_base2new") >= {"const.precision", "const.W", "const.b", "eval_logits_base"}


def test_new_classes_without_copies_of_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.gda.TEXT_COPIES", 0)
    assert over("gda_base2new") == {"const.new_W", "const.new_b", "eval_logits_new"}


def test_the_first_view_first(over_with: Callable[..., set[str]]) -> None:
    assert over_with("prolip", view_order=[0, 1, 2, 0, 1, 2]) >= {"train_logits", "train_losses", "grad"}


def test_the_mean_of_squared_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    def mean(self: ProLIP, x: Tensor, labels: Tensor) -> Tensor:
        distance = (self.clip.image.proj - self.initial).square().mean()
        return Method.loss(self, x, labels) + self.strength * distance

    monkeypatch.setattr(ProLIP, "loss", mean)
    assert "after, 99 %" in over("prolip")


@pytest.mark.parametrize("name", ["tip_adapter", "tip_adapter_f", "gda", "prolip"])
def test_the_logit_scale_of_the_model(name: str, over_with: Callable[..., set[str]]) -> None:
    assert "eval_logits_base" in over_with(name, logit_scale=None)


def test_half_the_weight_of_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    use = LinearProbe.use
    monkeypatch.setattr(LinearProbe, "use", lambda self, given: use(self, {"C": given["C"] / 2}))
    assert over("linear_probe") >= {"fixed_C.coef", "fixed_C.eval_logits", "final.coef", "eval_logits_base"}


def test_another_order_of_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.tip_adapter.product", lambda betas, alphas: [(b, a) for a in alphas for b in betas])
    assert "search_accuracy" in over("tip_adapter")


def test_a_grid_with_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.tip_adapter.grid", lambda end, n: torch.linspace(0.1, end, n).tolist())
    assert over("tip_adapter_f") & {"search_accuracy", "search_best"}


def test_the_last_of_the_best_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EPOCH_RULES", {"epoch_accuracy": "last_best", "val_accuracy": "first_best"})
    assert "best, 99 %" in over("tip_adapter_f")
    assert "best_epoch" in over("lp_plus_plus")
