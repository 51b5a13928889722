"""Which runs a grid has of methods that are fitted to the shots or choose on validation pictures."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from harness.experiment.grid import Experiment, expand
from harness.experiment.settings import parse_overrides
from tests.fitted_methods import PROTOTYPES, SEARCHED


def grid(**fields: Any) -> Experiment:
    return Experiment(**{"backbone": "ViT-B-16-quickgelu", **fields})


def test_a_method_that_is_fitted_or_chooses_has_every_seed(add_method: Callable[[str, str], None]) -> None:
    add_method("prototypes", PROTOTYPES)
    add_method("searched", SEARCHED)
    specs = expand(grid(methods=("prototypes", "searched", "zeroshot"), seeds=(4, 5)))
    assert [(spec.method, spec.seed, spec.train.epochs) for spec in specs] == [
        ("prototypes", 4, 0), ("prototypes", 5, 0), ("searched", 4, 0), ("searched", 5, 0), ("zeroshot", 4, 0),
    ]  # fmt: skip


def test_settings_that_a_method_has_no_use_for_make_no_second_run(add_method: Callable[[str, str], None]) -> None:
    add_method("prototypes", PROTOTYPES)
    add_method("searched", SEARCHED)
    settings = parse_overrides(["train.lr=1,2", "train.fit_views=1,2,3", "select.shots=1,2,3,4,5"])
    specs = expand(grid(methods=("zeroshot", "prototypes", "searched", "skip"), seeds=(1,)), settings)
    number = Counter(spec.method for spec in specs)
    # Skip Tuning may keep its best epoch, so that validation pictures are settings of it.
    assert number == {"zeroshot": 1, "prototypes": 3, "searched": 15, "skip": 30}
