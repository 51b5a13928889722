"""What the measurement of tracking runs, and its table; the measurement itself takes minutes."""

from experiments.measure_tracking import WAYS, table, words_of
from experiments.measured_process import Cost
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.tracking.settings import tracking_mode


def test_the_table_holds_medians_and_differences_within_rounds() -> None:
    found = {
        "nothing": [Cost(1.0, 2.0), Cost(1.5, 8.0), Cost(9.0, 3.0)],
        "W&B offline": [Cost(2.0, 3.0), Cost(3.0, 10.0), Cost(4.0, 4.5)],
    }
    *_, plain, wandb = table(found)
    assert plain == "| nothing | 3.00 | +0.00 | 1.50 |"
    assert wandb == "| W&B offline | 4.50 | +1.50 | 3.00 |"


def test_every_way_tracks_as_it_says() -> None:
    modes = {"nothing": ("disabled", ()), "W&B offline": ("offline", ()), "TensorBoard": ("disabled", ("tensorboard",))}
    for way, (mode, sinks) in modes.items():
        settings = [word for word in words_of(way, "coop", (), "there") if "=" in word]
        experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"methods": "coop"})
        spec = plan_grid(experiment.with_settings(parse_overrides(settings), "test"))[0].spec
        assert (tracking_mode(spec, {}), spec.tracking.sinks) == (mode, sinks)
    assert modes.keys() == WAYS.keys()
