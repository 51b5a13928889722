"""How a trial is judged: limits, memory with the caching pass, and the steps that a pruner compares."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from harness.errors import UserError
from harness.experiment.spec import RunSpec
from harness.results.epochs import EpochRecord
from harness.tune.objective import Pruning, metrics_of, violation
from harness.tune.report import best_trials, is_inside
from harness.tune.study import open_study, pruner_of, sampler_of
from harness.tune.sweep import Sweep
from tests.made_up_results import a_result

MIB = 2**20


def a_sweep(**changes: Any) -> Sweep:
    return Sweep.model_validate({"name": "x", "method": "skip", "space": {"skip.depth": {"int": [0, 6]}}, **changes})


@pytest.mark.parametrize(
    ("metric", "value", "inside"),
    [
        ("peak_memory", 899.0, True),
        ("peak_memory", 900.0, True),
        ("peak_memory", 900.5, False),
        ("train_flops", 901.0, False),
        ("H", 899.0, False),
        ("H", 900.0, True),
        ("accuracy.base", 901.0, True),
    ],
)
def test_a_limit_is_the_most_of_a_cost_and_the_least_of_an_accuracy(metric: str, value: float, inside: bool) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    trial = study.ask()
    trial.set_constraint(metric, violation(metric, value, 900.0))
    study.tell(trial, [1.0, 1.0])
    assert is_inside(study.trials[0]) is inside
    if inside:
        assert best_trials(study, a_sweep(limits={metric: 900.0}))
    else:
        with pytest.raises(UserError, match="within"):
            best_trials(study, a_sweep(limits={metric: 900.0}))


def test_memory_of_training_holds_the_caching_pass(make_spec: Callable[..., RunSpec]) -> None:
    phases = {
        "setup": {"seconds": 1.0, "peak_tensor_bytes": 90 * MIB},
        "cache": {"seconds": 2.0, "peak_tensor_bytes": 70 * MIB},
        "train": {"seconds": 3.0, "peak_tensor_bytes": 30 * MIB},
        "evaluate": {"seconds": 4.0, "peak_tensor_bytes": 80 * MIB},
    }
    values = metrics_of([a_result(make_spec("zeroshot"), {"base": 60.0, "new": 40.0}, phases)])
    assert values["train_memory"] == 70
    assert values["steps_memory"] == 30
    assert values["peak_memory"] == 90
    assert values["train_seconds"] == 5


def test_time_to_adapt_is_caching_fitting_training_and_selecting(make_spec: Callable[..., RunSpec]) -> None:
    names = ("setup", "cache", "fit", "train", "select", "evaluate")
    phases = {
        name: {"seconds": 10.0**place, "peak_tensor_bytes": (place + 1) * MIB} for place, name in enumerate(names)
    }
    phases["select"]["shared_seconds"] = 0.5
    values = metrics_of([a_result(make_spec("zeroshot"), {"base": 60.0, "new": 40.0}, phases)])
    assert values["train_seconds"] == 10 + 100 + 1000 + 10000.5
    assert (values["fit_seconds"], values["select_seconds"]) == (100, 10000.5)
    assert values["train_memory"] == 5


def test_what_a_refused_evaluation_leaves_judges_a_trial(make_spec: Callable[..., RunSpec]) -> None:
    refusals = [{"evaluation": "new", "reason": "others"}]
    result = a_result(make_spec("zeroshot"), {"base": 60.0}, {}, refusals=refusals)
    values = metrics_of([result, result])
    assert values["accuracy.base"] == 60
    assert values["accuracy.base.std"] == 0
    assert not {"H", "accuracy", "accuracy.new"} & values.keys()


def test_epochs_of_all_seeds_are_steps_of_their_own_in_the_order_of_the_runs(
    make_spec: Callable[..., RunSpec],
) -> None:
    specs = [make_spec("skip").model_copy(update={"seed": seed}) for seed in (1, 2)]
    sweep = a_sweep(objectives=["accuracy.new"], pruner="median")
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    pruning = Pruning(trial, sweep, specs)
    epochs = specs[0].train.epochs
    for number, spec in enumerate(specs):
        for epoch in range(epochs):
            accuracies = {"base": 0.0, "new": 10.0 * number + epoch}
            pruning.on_epoch(spec, EpochRecord(epoch=epoch, loss=1.0, lr=0.1, accuracies=accuracies))
    steps = study.trials[0].intermediate_values
    assert len(steps) == 2 * epochs, "no epoch of one seed may hide that of another"
    assert list(steps) == sorted(steps)
    assert list(steps.values()) == [10.0 * number + epoch for number in (0, 1) for epoch in range(epochs)]


def test_a_trial_that_is_worse_at_the_same_step_is_pruned(make_spec: Callable[..., RunSpec]) -> None:
    sweep = a_sweep(objectives=["accuracy.new"], pruner="median")
    study = optuna.create_study(direction="maximize", pruner=pruner_of(sweep))
    specs = [make_spec("skip").model_copy(update={"seed": seed}) for seed in (1, 2)]
    record = EpochRecord(epoch=0, loss=1.0, lr=0.1, accuracies={"base": 0.0, "new": 50.0})
    for _ in range(5):
        trial = study.ask()
        for spec in specs:
            Pruning(trial, sweep, specs).on_epoch(spec, record)
        study.tell(trial, 50.0)
    with pytest.raises(optuna.TrialPruned):
        Pruning(study.ask(), sweep, specs).on_epoch(
            specs[1], EpochRecord(epoch=0, loss=1.0, lr=0.1, accuracies={"base": 99.0, "new": 49.0})
        )


def test_an_epoch_without_accuracies_is_no_step(make_spec: Callable[..., RunSpec]) -> None:
    study = optuna.create_study()
    spec = make_spec("skip")
    Pruning(study.ask(), a_sweep(objectives=["H"]), [spec]).on_epoch(spec, EpochRecord(epoch=0, loss=1.0, lr=0.1))
    assert study.trials[0].intermediate_values == {}


def test_every_objective_has_its_own_direction(tmp_path: Any) -> None:
    sweep = a_sweep(objectives=["train_memory", "H", "train_seconds", "accuracy.new", "ece"])
    directions = [direction.name for direction in open_study(sweep, tmp_path).directions]
    assert directions == ["MINIMIZE", "MAXIMIZE", "MINIMIZE", "MAXIMIZE", "MINIMIZE"]
    study = optuna.create_study(directions=["minimize", "maximize"])
    for values in ([10, 60], [9, 60], [9, 59], [8, 50]):
        study.add_trial(create_trial(values=values, state=TrialState.COMPLETE))
    best = best_trials(study, a_sweep(objectives=["train_memory", "H"]))
    assert [trial.number for trial in best] == [3, 1]


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_workers_and_seeds_of_a_sweep_draw_other_values(sampler: str) -> None:
    def first_draws(seed: int, worker: int) -> list[float]:
        study = optuna.create_study(sampler=sampler_of(a_sweep(sampler=sampler, seed=seed), worker))
        return [study.ask({"x": FloatDistribution(0, 1)}).params["x"] for _ in range(3)]

    draws = [tuple(first_draws(seed, worker)) for seed in (0, 1) for worker in (0, 1, 2)]
    assert len(set(draws)) == len(draws)
    assert tuple(first_draws(0, 1)) == draws[1]
