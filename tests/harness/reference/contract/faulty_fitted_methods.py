"""Methods that are fitted or choose, and break a property of the contract."""

from tests.fitted_methods import HEAD, PROTOTYPES, SEARCHED
from tests.harness.reference.contract.faulty_methods import Fault, body

IN_FIT = "        images = "


def in_fit(line: str, code: str = PROTOTYPES, before: str = IN_FIT) -> str:
    """A fitted method with another line in fit()."""
    return code.replace(before, f"        {line}\n{before}", 1)


FITTED_FAULTS = {
    "writes into the shots": Fault(
        "is fitted to the shots", "fit() writes into its shots", in_fit("shots.x.mul_(0.5)")
    ),
    "changes CLIP": Fault(
        "is fitted to the shots", "fit() changes 'clip.logit_scale'", in_fit("self.clip.logit_scale.add_(0.1)")
    ),
    "draws without a seed in fit": Fault(
        "is fitted to the shots",
        "'prototypes' differs in a second fit to the same shots",
        in_fit("images = images + 0.1 * random.random()", before="        one_hot = ").replace(
            "import torch\n", "import random\n\nimport torch\n", 1
        ),
    ),
    "adds to an earlier fit": Fault(
        "is fitted to the shots",
        "'prototypes' differs in a second fit",
        in_fit("images = images + getattr(self, 'prototypes', images).mean()", before="        one_hot = "),
    ),
    "ignores the labels": Fault(
        "is fitted to the shots",
        "other labels of the shots give the same logits",
        PROTOTYPES.replace("shots.labels", "torch.arange(len(shots.labels)) % len(self.prompts)"),
    ),
    "ignores the images whatever it chooses": Fault(
        "is fitted to the shots",
        "other images of the shots give the same logits",
        in_fit("images = images[:1].abs().clamp(1, 1) * shots.labels[:, None]", SEARCHED, "        one_hot = "),
    ),
    "ignores the images": Fault(
        "is fitted to the shots",
        "other images of the shots give the same logits",
        in_fit("images = images[:1].abs().clamp(1, 1) * shots.labels[:, None]", before="        one_hot = "),
    ),
    "trains in the memory of the shots": Fault(
        "is fitted to the shots",
        "'weight' trains in the memory of the shots",
        HEAD.replace("F.normalize((one_hot.T @ images).float(), dim=-1)", "shots.x[0, :6]"),
    ),
    "keeps what is fitted as a plain tensor": Fault(
        "loads from its checkpoint",
        "built with another seed and fitted to others",
        PROTOTYPES.replace('self.register_buffer("prototypes", ', "self.prototypes = (", 1),
    ),
    "begins in half precision": Fault(
        "works in every precision",
        "'weight' is bfloat16, as autocast computes",
        HEAD.replace(".float(), dim", ", dim"),
    ),
    "tries what is no number": Fault(
        "chooses on validation images",
        "search() tries strength=nan: yield finite numbers",
        SEARCHED.replace("0.25 * 2.0**step", "float('nan')"),
    ),
    "returns what it did not try": Fault(
        "chooses on validation images",
        "returns {'strength': 9.0}, which it did not try (with the same score for all)",
        SEARCHED.replace("return (yield from first_best(", "yield from first_best(").replace(
            "for strength in strengths))", "for strength in strengths)\n        return {'strength': 9.0}"
        ),
    ),
    "never ends": Fault(
        "chooses on validation images",
        "search() tries more than 50,000 candidates (with zero for all): let it end",
        SEARCHED[: SEARCHED.index("        strengths = ")]
        + "        candidate, accuracy = {'strength': 1.0}, 0.0\n"
        + "        while accuracy < 1:\n            accuracy = yield candidate\n        return candidate\n",
    ),
    "adds up what it used": Fault(
        "chooses on validation images",
        "gives other logits once",
        SEARCHED
        + body("""
            def use(self, candidate):
                for name, value in candidate.items():
                    self.get_buffer(name).add_(value)
        """),
    ),
}
