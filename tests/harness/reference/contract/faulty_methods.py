"""Methods that keep the contract but for one property, to be checked on the tiny backbone."""

from dataclasses import dataclass
from textwrap import dedent, indent

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
        "reads a number that depends on weights and images (such as .item() of a loss)",
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
                return super().logits(x, text) + 0 * large[:1].sum()
        """),
    ),
}
