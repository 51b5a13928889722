"""The methods in examples/methods, which CONTRIBUTING.md explains, work from a folder of their own."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from harness.clip.towers import CLIP
from harness.training.selection import choose
from methods.base import Method, Shots
from tests.commands import ROOT, run_process

FOLDER = ROOT / "examples" / "methods"
TEXTS = ["a drawing of a cat.", "a drawing of a dog."]
LABELS = torch.tensor([1, 0, 1])


def fitted(clip: CLIP, name: str) -> Method:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (cls,) = (
        member
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, Method) and member.__module__ == name
    )
    method = cls(clip, cls.Config(), clip.tokenize(TEXTS))
    method.fit(Shots(views(), LABELS, per_class=2))
    return method


def views() -> torch.Tensor:
    return torch.randn(2, 3, 128, generator=torch.Generator().manual_seed(0))


def means() -> torch.Tensor:
    x = F.normalize(views(), dim=-1)
    return torch.stack([x[:, 1].mean(0), x[:, [0, 2]].mean((0, 1))])


def test_class_mean_is_the_nearest_mean_of_normalised_views(clip: CLIP) -> None:
    method, x = fitted(clip, "class_mean"), torch.randn(4, 128)
    torch.testing.assert_close(method.logits(x, method.text_features()), method.similarity_logits(x, means()))


def test_text_and_mean_uses_the_share_that_it_chose(clip: CLIP) -> None:
    method, x = fitted(clip, "text_and_mean"), torch.randn(4, 128)
    choice = choose(method, lambda candidate: 10 if candidate["share"] in (0.3, 0.7) else 0)
    assert [candidate["share"] for candidate in choice.candidates] == [step / 10 for step in range(11)]
    assert choice.chosen == {"share": 0.3}
    text = method.text_features()
    mixed = 0.7 * F.normalize(text, dim=-1) + 0.3 * F.normalize(means(), dim=-1)
    torch.testing.assert_close(method.logits(x, text), method.similarity_logits(x, mixed))


@pytest.mark.slow
def test_both_run_from_a_folder_outside_the_project(tmp_path: Path) -> None:
    words = ["bench", "class_mean,text_and_mean", "--protocol", "few_shot", "--shots", "1", "--seeds", "1"]
    # A picture of every class: these methods know the classes of their training only.
    words += ["evaluate=[{name: all, dataset: emoji, classes: all, splits: [val]}]", "--results", str(tmp_path)]
    done = run_process(*words, SKIPBENCH_METHODS=str(FOLDER))
    assert done.returncode == 0, done.stderr
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/result.json")]
    chosen = {result["spec"]["method"]: result["selection"] for result in results}
    assert chosen["class_mean"] is None
    assert chosen["text_and_mean"]["candidates"] == 11
