"""What the replay of an average over epochs, of drawn sentences and of a second view would notice."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.errors import UserError
from methods.coprompt import CoPrompt
from methods.promptsrc import PromptSRC
from tests.harness.reference.test_parity_controls import over


@pytest.fixture
def over_with(golden: Path, tmp_path: Path) -> Callable[..., set[str]]:
    """What is over where the description or the tensors of some vectors say something else."""

    def change(name: str, options: dict[str, Any] | None = None, **changes: Any) -> set[str]:
        for file in ("clip_tiny.safetensors", "inputs.safetensors"):
            shutil.copy(golden / file, tmp_path / file)
        about = json.loads((golden / f"{name}.json").read_text())
        tensors = load_file(golden / f"{name}.safetensors")
        about["hyper"]["method_options"] |= options or {}
        for key, value in changes.items():
            (tensors if isinstance(value, Tensor) else about)[key] = value
        (tmp_path / f"{name}.json").write_text(json.dumps(about))
        save_file(tensors, tmp_path / f"{name}.safetensors")
        return over(name, tmp_path)

    return change


def test_other_weights_of_epochs(over_with: Callable[..., set[str]]) -> None:
    found = over_with("promptsrc", {"TRAINER.PROMPTSRC.GPA_STD": 3})
    assert found >= {"gpa_weights", "after_gpa"}
    # The steps of the first epoch, and what is evaluated after them, are as they were.
    assert not found & {"train_losses", "after", "eval_logits_base", "eval_logits_new"}


def test_an_average_that_leaves_out_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    after_epoch = PromptSRC.after_epoch

    def last_only(self: PromptSRC, epoch: int, epochs: int) -> None:
        if epoch:
            after_epoch(self, epoch, epochs)

    monkeypatch.setattr(PromptSRC, "after_epoch", last_only)
    assert over("promptsrc") >= {"after_gpa", "eval_logits_base_gpa"}


def test_an_average_after_the_first_epoch_already(monkeypatch: pytest.MonkeyPatch) -> None:
    after_epoch = PromptSRC.after_epoch
    monkeypatch.setattr(PromptSRC, "after_epoch", lambda self, epoch, epochs: after_epoch(self, epoch, epoch + 1))
    assert "after_gpa" in over("promptsrc")


def test_a_teacher_of_normalised_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PromptSRC, "averages_normalised", True)
    assert "const.fixed_embeddings" in over("promptsrc")


@pytest.mark.parametrize("part", ["text_weight", "image_weight"])
def test_another_weight_of_a_distance(over_with: Callable[..., set[str]], part: str) -> None:
    official = {"text_weight": "TEXT_LOSS_WEIGHT", "image_weight": "IMAGE_LOSS_WEIGHT"}[part]
    assert over_with("promptsrc", {f"TRAINER.PROMPTSRC.{official}": 9}) >= {"train_losses", "grad", "after"}


def test_without_the_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.promptsrc.mean_divergence", lambda logits, target: torch.zeros(()))
    assert over("promptsrc") >= {"train_losses", "grad"}


def test_other_sentences_are_drawn(over_with: Callable[..., set[str]]) -> None:
    found = over_with("coprompt", drawn_sentence_index=[0, 2, 1])
    assert found >= {"train_losses", "grad", "after"}
    assert not found & {"const.ori_embedding", "eval_logits_base_init"}


def test_the_same_view_instead_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CoPrompt, "frozen_view", "same")
    assert over("coprompt") >= {"train_losses", "grad"}


def test_the_other_distance(over_with: Callable[..., set[str]]) -> None:
    assert "train_losses" in over_with("coprompt", {"TRAINER.DISTILL": "mse"})


def test_a_number_of_sentences_that_cannot_be(over_with: Callable[..., set[str]]) -> None:
    with pytest.raises(UserError, match="its 49 further texts are no sentences of 12 classes"):
        over_with("coprompt", drawn_sentence_index=[3, 0, 2])
