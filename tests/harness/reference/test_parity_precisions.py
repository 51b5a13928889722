"""Lower precisions are compared with the official numbers, and a mistake in one of them is found."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.experiment.registry import method_class
from harness.reference.parity import precisions
from harness.reference.parity.comparison import Comparison
from harness.reference.parity.precisions import LIMITS, distance, precisions_of, replay_rounded
from harness.reference.parity.vectors import Vectors
from methods.clip_adapter import CLIPAdapter

GOLDEN = Path(__file__).parents[2] / "golden"
CPU = torch.device("cpu")


def replayed(file: str, method: str, precision: str) -> dict[str, Comparison]:
    found = replay_rounded(method_class(method), Vectors(GOLDEN / f"{file}.json"), precision)
    return {item.quantity: item for item in found}


@pytest.mark.parametrize("precision", ["bf16", "fp16", "half"])
@pytest.mark.parametrize(
    ("file", "method"), [("clip_adapter", "clip_adapter"), ("prograd", "prograd"), ("mmrl", "mmrl")]
)
def test_a_first_step_is_as_near_as_the_precision_allows(file: str, method: str, precision: str) -> None:
    found = replayed(file, method, precision)
    assert found.keys() == {"logits", "loss", "gradient"}
    assert all(item.passed for item in found.values())
    # What is computed with fewer bits is further away than float32 ever is.
    assert found["gradient"].error > 1e-4


def test_what_trains_nothing_is_compared_by_its_logits() -> None:
    assert replayed("zeroshot", "zeroshot", "bf16").keys() == {"logits"}
    # What was chosen on validation images may be another number.
    assert replayed("gda", "gda", "bf16") == {}


def test_a_mistake_in_one_precision_is_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    original = CLIPAdapter.similarity_logits

    def wrong_in_bfloat16(self: CLIPAdapter, image: Tensor, text: Tensor) -> Tensor:
        logits = original(self, image, text)
        return 1.2 * logits if torch.is_autocast_enabled("cpu") and is_bfloat16() else logits

    def is_bfloat16() -> bool:
        return torch.get_autocast_dtype("cpu") == torch.bfloat16

    monkeypatch.setattr(CLIPAdapter, "similarity_logits", wrong_in_bfloat16, raising=False)
    wrong = {
        precision: {
            name for name, item in replayed("clip_adapter", "clip_adapter", precision).items() if not item.passed
        }
        for precision in ("bf16", "fp16", "half")
    }
    assert "logits" in wrong["bf16"]
    assert wrong["fp16"] == wrong["half"] == set()


def test_a_device_is_asked_for_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precisions_of(CPU) == ["bf16", "fp16", "half"]
    gpu = torch.device("cuda")
    for capability, has_bf16, names in (((9, 0), True, list(LIMITS)), ((7, 0), False, ["fp16", "half"])):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated, found=has_bf16: found)
        assert precisions_of(gpu) == names


def test_distance_is_relative_and_never_small_by_mistake() -> None:
    two = torch.tensor([3.0, 4.0])
    assert distance(two + torch.tensor([0.5, 0.0]), two) == pytest.approx(0.1)
    assert distance(torch.zeros(3), two) == float("inf")
    assert not Comparison("file", "logits", distance(two * float("nan"), two), 0.1).passed


def test_only_what_is_limited_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(subject: object) -> Iterator[tuple[str, tuple[float, float]]]:
        yield "logits", (0.0, 1.0)
        yield "train_lrs", (5.0, 0.0)

    monkeypatch.setattr(precisions, "_compare", compare)
    assert set(replayed("zeroshot", "zeroshot", "bf16")) == {"logits"}
