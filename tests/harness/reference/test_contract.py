"""The contract of a method: the shipped methods keep it, and a faulty one fails exactly the property that it breaks."""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import pytest
from click.testing import CliRunner, Result

import methods
from harness.cli import cli
from harness.errors import UserError
from harness.experiment.registry import method_class, method_names
from harness.reference.contract.candidate import Candidate
from harness.reference.contract.equalities import equals_the_official_implementation
from harness.reference.contract.properties import FAILED, OK, PROPERTIES, REMARK, SKIPPED, check_contract, find_out

HEAD = '''"""Text shift: one learned vector, added to the embeddings of all classes."""

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.base import Method, OtherClassesError


class TextShift(Method):
    """t' = t + strength * shift; both towers stay frozen."""

    class Config(Method.Config):
        strength: float = Field(1.0, gt=0, description="how much of the shift is added")

    config: Config

    def build(self) -> None:
        self.shift = nn.Parameter(torch.zeros(self.clip.embed_dim))
'''
TEXT = """
    def text_features(self, classes: Tensor | None = None) -> Tensor:
        return super().text_features(classes) + self.config.strength * self.shift
"""
GOOD = HEAD + TEXT
NAME = "text_shift"
Add = Callable[..., Candidate]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Path) -> Iterator[Add]:
    """Put a method into a folder of its own, for the time of a test, to be checked on the tiny backbone."""
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    added: list[str] = []

    def put(code: str, name: str = NAME) -> Candidate:
        (tmp_path / f"{name}.py").write_text(code)
        importlib.invalidate_caches()
        added.append(name)
        return Candidate(name, str(tiny))

    yield put
    for name in added:
        sys.modules.pop(f"methods.{name}", None)
        vars(methods).pop(name, None)


def outcomes(candidate: Candidate) -> dict[str, tuple[str, str]]:
    """Title -> state and words of every property."""
    return {outcome.title: (outcome.state, outcome.words) for outcome in check_contract(candidate)}


def titles(found: dict[str, tuple[str, str]], state: str) -> list[str]:
    return [title for title, (is_state, _) in found.items() if is_state == state]


def body(code: str) -> str:
    """Lines of a class."""
    return "\n" + indent(dedent(code).strip("\n"), "    ") + "\n"


@dataclass(frozen=True)
class Fault:
    """A faulty method.

    Attributes:
        title: of the property that it breaks.
        words: that the reason holds.
        code: of the method.
    """

    title: str
    words: str
    code: str


FAULTS = {
    "syntax error": Fault("can be imported", "is not valid Python: line 10", GOOD.replace("(Method):", "(Method:", 1)),
    "import error": Fault(
        "can be imported", "line 3: ModuleNotFoundError: No module named 'nowhere'", GOOD.replace("torch", "nowhere", 1)
    ),
    "numpy": Fault(
        "imports only what a method may", "line 3 imports numpy", GOOD.replace("import torch", "import numpy, torch", 1)
    ),
    "opens a file": Fault(
        "opens no files, logs or devices",
        "line 20 uses open(): weights and images come from the harness",
        HEAD + "        open(__file__).close()\n" + TEXT,
    ),
    "asks for a device": Fault(
        "opens no files, logs or devices",
        "line 20 uses torch.cuda: new parameters are moved for you",
        HEAD + "        torch.cuda.is_available()\n" + TEXT,
    ),
    "names a device": Fault(
        "opens no files, logs or devices",
        "line 20 uses 'cpu'",
        HEAD + '        self.register_buffer("one", torch.ones(1, device="cpu"))\n' + TEXT,
    ),
    "two methods": Fault(
        "is one documented class", "must define one subclass of Method, it defines 2", GOOD + "\nclass B(Method): ...\n"
    ),
    "no docstring": Fault(
        "is one documented class",
        "class TextShift has no docstring",
        GOOD.replace('''    """t' = t + strength * shift; both towers stay frozen."""''', ""),
    ),
    "option without description": Fault(
        "describes its options",
        "option 'strength' has no description",
        GOOD.replace(', description="how much of the shift is added"', ""),
    ),
    "one prompt for all": Fault(
        "builds on a CLIP",
        "prompt_template() gives several classes the prompt 'a photo.'",
        GOOD
        + body("""
            @classmethod
            def prompt_template(cls, config, template):
                return "a photo."
        """),
    ),
    "wrong shape": Fault(
        "gives logits",
        "the shape (5, 7) for 5 images and 6 classes: return (5, 6)",
        GOOD
        + body("""
            def logits(self, x: Tensor, text: Tensor) -> Tensor:
                return nn.functional.pad(super().logits(x, text), (0, 1))
        """),
    ),
    "draws in evaluation": Fault(
        "gives logits",
        "differs between two calls",
        GOOD
        + body("""
            def image_features(self, x: Tensor) -> Tensor:
                return nn.functional.dropout(super().image_features(x), 0.1)
        """),
    ),
    "looks at the batch": Fault(
        "gives logits",
        "depend on the other images of its batch",
        GOOD
        + body("""
            def image_features(self, x: Tensor) -> Tensor:
                image = super().image_features(x)
                return image - 0.1 * image.mean(dim=0)
        """),
    ),
    "keeps the text of the training classes": Fault(
        "takes other classes",
        "for 5 images and 3 classes: return (5, 3), of the classes that are set",
        HEAD
        + "        self.kept = super().text_features()\n"
        + body("""
            def text_features(self, classes: Tensor | None = None) -> Tensor:
                return self.kept + self.shift
        """),
    ),
    "keeps something of each training class": Fault(
        "takes other classes",
        "in reverse order have other logits",
        HEAD
        + "        self.kept = super().text_features()\n"
        + body("""
            def text_features(self, classes: Tensor | None = None) -> Tensor:
                return super().text_features(classes) + self.shift + 0.1 * self.kept[: len(self.prompts)]
        """),
    ),
    "ignores set_classes": Fault(
        "takes other classes",
        "for 5 images and 3 classes",
        GOOD
        + body("""
            def set_classes(self, prompts) -> None:
                if not hasattr(self, "shift"):
                    super().set_classes(prompts)
        """),
    ),
    "refuses other classes too late": Fault(
        "takes other classes",
        "let check_classes() raise that OtherClassesError",
        GOOD
        + body("""
            def set_classes(self, prompts) -> None:
                if prompts.texts != self.training_texts:
                    raise OtherClassesError("these are others")
                super().set_classes(prompts)
        """),
    ),
    "trains what gets no gradient": Fault(
        "trains",
        "'clip.image.proj' requires gradients and never gets one",
        HEAD + "        self.train_towers_from(1)\n" + TEXT,
    ),
    "nothing to train": Fault(
        "trains",
        "nothing requires gradients after build()",
        GOOD.replace("nn.Parameter(torch.zeros(self.clip.embed_dim))", "torch.zeros(self.clip.embed_dim)"),
    ),
    "trains although it says not": Fault(
        "trains", "although the class says trains = False", GOOD + body("trains = False")
    ),
    "raises in training": Fault(
        "trains",
        "line 25: ZeroDivisionError",
        GOOD
        + body("""
            def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
                return super().training_logits(x / (1 // 0), labels)
        """),
    ),
    "changes a frozen weight": Fault(
        "changes only what trains",
        "'clip.logit_scale' changes although it is frozen",
        GOOD
        + body("""
            def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
                self.clip.logit_scale += 0.001
                return super().training_logits(x, labels)
        """),
    ),
    "needs several images": Fault(
        "takes one class, one image",
        "with one image: loss() gives nan",
        GOOD
        + body("""
            def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
                return super().training_logits(x / x.std(dim=0), labels)
        """),
    ),
    "facts that are tensors": Fault(
        "reports facts as numbers",
        "facts() gives size as Tensor",
        GOOD
        + body("""
            def facts(self):
                return {"size": self.shift.detach().norm()}
        """),
    ),
    "draws without a seed": Fault(
        "same seed, same bytes",
        "'shift' differs between two runs with the same seed",
        GOOD.replace("import torch", "import random\n\nimport torch", 1)
        + body("""
            def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
                return super().training_logits(x + 0.01 * random.random(), labels)
        """),
    ),
    "starts from another value each time": Fault(
        "same seed, same bytes",
        "'shift' differs",
        HEAD
        + "        generator = torch.Generator()\n        generator.seed()\n"
        + "        nn.init.normal_(self.shift, generator=generator)\n"
        + TEXT,
    ),
    "stale text in the cache": Fault(
        "cached = not cached",
        "'shift' differs, speed-ups off, between trainings with train.cache=fresh and none",
        HEAD
        + "        self.kept = None if self.frozen_text is None else super().text_features()\n"
        + body("""
            def set_classes(self, prompts) -> None:
                super().set_classes(prompts)
                self.kept = None

            def text_features(self, classes: Tensor | None = None) -> Tensor:
                if self.kept is None:
                    return super().text_features(classes) + self.shift
                return self.kept + self.shift - self.shift.detach()
        """),
    ),
    "counts steps": Fault(
        "resumes bit for bit",
        "'shift' differs between a training that was interrupted",
        HEAD
        + "        self.steps = 0\n"
        + TEXT
        + body("""
            def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
                self.steps += 1
                logits, labels = super().training_logits(x, labels)
                return logits / self.steps, labels
        """),
    ),
    "looks at the length of the prompts": Fault(
        "speed-ups on = off",
        "'shift' differs between trainings with the speed-ups and without",
        GOOD
        + body("""
            def logits(self, x: Tensor, text: Tensor) -> Tensor:
                return super().logits(x, text) * self.prompts.ids.shape[1] / 10
        """),
    ),
    "draws what no checkpoint holds": Fault(
        "loads from its checkpoint",
        "keep all that is drawn or learned in parameters that train or in buffers",
        HEAD
        + "        self.noise = nn.Parameter(torch.randn(self.clip.embed_dim), requires_grad=False)\n"
        + body("""
            def text_features(self, classes: Tensor | None = None) -> Tensor:
                return super().text_features(classes) + self.shift + 0.01 * self.noise
        """),
    ),
    "mixes types": Fault(
        "works in every precision",
        "train.precision=half: line 26: RuntimeError",
        HEAD
        + '        self.register_buffer("turn", torch.eye(self.clip.embed_dim))\n'
        + TEXT
        + body("""
            def image_features(self, x: Tensor) -> Tensor:
                return super().image_features(x) @ self.turn
        """),
    ),
    "reads its loss": Fault(
        "estimate = measurement",
        "reads a number that only real weights and pictures can tell (such as .item() of a loss)",
        GOOD
        + body("""
            def loss(self, x: Tensor, labels: Tensor) -> Tensor:
                loss = super().loss(x, labels)
                return loss if loss.item() < 1e6 else loss / 2
        """),
    ),
    "memory that follows from values": Fault(
        "estimate = measurement",
        "the peak of phase evaluate is estimated as",
        GOOD
        + body("""
            def logits(self, x: Tensor, text: Tensor) -> Tensor:
                large = torch.cat([x[x > x.mean()]] * 5000)
                return super().logits(x, text) + 0 * large[0]
        """),
    ),
}


def test_a_method_that_keeps_the_contract_passes(add: Add) -> None:
    found = outcomes(add(GOOD))
    assert list(found) == [item.title for item in PROPERTIES]
    assert titles(found, FAILED) == titles(found, REMARK) == []
    assert titles(found, SKIPPED) == ["equals the official code"]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_faulty_method_fails_exactly_the_property_that_it_breaks(fault: Fault, add: Add) -> None:
    found = outcomes(add(fault.code))
    assert {title: words for title, (state, words) in found.items() if state == FAILED}.keys() == {fault.title}
    assert fault.words in found[fault.title][1]
    assert "\n" not in found[fault.title][1]


def test_what_needs_a_broken_property_is_skipped_and_names_it(add: Add) -> None:
    found = outcomes(add(FAULTS["import error"].code))
    assert titles(found, OK) == ["has a usable name"]
    assert {words for state, words in found.values() if state == SKIPPED} == {"it needs 'can be imported'"}


@pytest.mark.parametrize("name", ["Shift", "data"])
def test_a_name_that_settings_cannot_have_is_refused(name: str, add: Add) -> None:
    first = next(check_contract(add(GOOD, name)))
    assert (first.title, first.state) == ("has a usable name", FAILED)


def test_a_file_with_the_name_of_another_method_is_never_read(add: Add, tmp_path: Path) -> None:
    first = next(check_contract(add(GOOD, "zeroshot")))
    assert first.state == FAILED
    assert first.words.startswith(f"{tmp_path}/zeroshot.py is never read")
    sys.modules.pop("methods.zeroshot", None)


def test_a_long_file_is_a_remark(add: Add) -> None:
    found = outcomes(add(GOOD + "\n" * 120))
    assert titles(found, REMARK) == ["is short"]
    assert titles(found, FAILED) == []


def test_helpers_and_the_standard_library_may_be_imported(add: Add, tmp_path: Path) -> None:
    (tmp_path / "_helper.py").write_text("VALUE = 1.0\n")
    code = GOOD.replace("from methods.base", "import math\nfrom methods._helper import VALUE\nfrom methods.base")
    found = outcomes(add(code))
    assert titles(found, FAILED) == []


@pytest.mark.parametrize("name", method_names())
def test_shipped_methods_keep_the_contract_on_a_tiny_backbone(name: str, tiny: Path) -> None:
    words = [f"{name}.depth=1"] if "depth" in method_class(name).Config.model_fields else []
    found = outcomes(Candidate(name, str(tiny), words))
    assert titles(found, FAILED) == titles(found, REMARK) == []
    # Nothing but vectors, of which none are given.
    assert method_class(name).trains == (titles(found, SKIPPED) == ["equals the official code"])


def test_vectors_of_the_official_code_are_replayed(golden: Path) -> None:
    state, words = find_out(equals_the_official_implementation, Candidate("clip_adapter", vectors=golden))
    assert state == OK
    assert words.endswith("comparisons, clip_adapter, clip_adapter_origin")


def test_a_method_that_differs_from_the_official_code_fails(add: Add, golden: Path) -> None:
    candidate = add(
        "from methods.base import Method, Official\n\nclass Hot(Method):"
        + body("""
            trains = False
            official = Official(trainers=("ZeroShotCLIP",))

            def logits(self, x, text):
                return 1.01 * super().logits(x, text)
        """)
    )
    candidate.vectors = golden
    state, words = find_out(equals_the_official_implementation, candidate)
    assert state == FAILED
    assert words.startswith("eval_logits")
    assert " of zeroshot is off by " in words


@pytest.mark.long
@pytest.mark.parametrize("name", method_names())
def test_shipped_methods_keep_the_contract(name: str, golden: Path) -> None:
    found = outcomes(Candidate(name, vectors=golden))
    assert titles(found, FAILED) == titles(found, REMARK) == []


def test_a_class_specific_context_refuses_other_classes_before_training(tiny: Path) -> None:
    candidate = Candidate("coop", str(tiny), ["coop.class_specific=true", "coop.n_ctx=4"])
    found = outcomes(candidate)
    assert titles(found, FAILED) == []
    assert found["takes other classes"][1].startswith("refuses before training: class_specific=true learns")


def check(*words: str) -> Result:
    return CliRunner().invoke(cli, ["check", *words])


def test_the_command_prints_a_line_for_each_property_and_fails_with_one_of_them(add: Add, tiny: Path) -> None:
    add(FAULTS["option without description"].code)
    done = check(NAME, "text_shift.strength=0.5", "train.lr=0.1", "--backbone", str(tiny))
    assert done.exit_code == 1
    *lines, summary = done.stdout.splitlines()
    assert [line[9:41].strip() for line in lines] == [item.title for item in PROPERTIES]
    (failed,) = [line for line in lines if line.startswith("FAILED")]
    assert "describes its options" in failed
    assert summary.startswith(f"text_shift on {tiny}: 20 ok, 1 FAILED, 1 skipped")


def test_the_command_succeeds_with_a_method_that_keeps_the_contract(tiny: Path) -> None:
    done = check("zeroshot", "--backbone", str(tiny))
    assert done.exit_code == 0
    assert "FAILED" not in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["zeroshott"], "unknown method 'zeroshott'. Did you mean 'zeroshot'?"),
        (["skip", "skip.dept=3"], "unknown key 'skip.dept'. Did you mean 'depth'?"),
        (["skip", "skip.depth=9"], "skip.depth=9 is beyond a backbone of 6 blocks"),
        (["skip", "train.precision=half"], "'train.precision' is decided by the check"),
        (["skip,coop", "skip.depth=3"], "options belong to one method"),
        (["skip", "--backbone", "emoji"], "unknown backbone 'emoji'"),
        (["skip", "--vectors", "nowhere"], "'nowhere' is not a folder of reference vectors"),
    ],
)
def test_a_mistake_in_the_command_is_not_taken_for_the_methods(words: list[str], message: str) -> None:
    done = check(*words)
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert "FAILED" not in done.stdout
