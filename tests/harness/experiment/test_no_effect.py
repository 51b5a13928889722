"""Settings that were asked for and change nothing are told, and no others."""

from collections.abc import Callable

import pytest

import harness.experiment.no_effect as module
from harness.experiment.grid import load_experiment, plan_grid
from harness.experiment.layers import COMMAND_LINE, Setting
from harness.experiment.no_effect import reason_in, without_effect
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import parse_overrides
from harness.experiment.spec import RunSpec
from tests.commands import skipbench
from tests.fitted_methods import HEAD, PROTOTYPES, SEARCHED


def told(words: str, **changes: object) -> list[str]:
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", {"seeds": [1], **changes})
    return without_effect(plan_grid(experiment, parse_overrides(words.split())))


@pytest.mark.parametrize(
    ("methods", "words", "changes", "line"),
    [
        ("zeroshot", "train.validate_every=1", {}, "train.validate_every has no effect: nothing trains"),
        ("skip", "train.batches=same_class", {"shots": [1]}, "train.batches has no effect: with 1 shots batches are"),
        ("skip", "train.batches=same_class", {"shots": [1, 4]}, "train.batches has no effect in 1 of 2 runs, such as"),
        ("coop", "train.lr_image=0.1", {}, "train.lr_image has no effect: coop trains no weights of the image tower"),
        ("skip", "train.warmup_lr=0.1 train.warmup_epochs=0", {}, "train.warmup_lr has no effect: train.warmup_epochs"),
        ("skip", "train.lr=0.1 train.epochs=1", {}, "train.lr has no effect: all 1 epochs are warm-up at warmup_lr"),
        ("skip", "train.cache_batch_size=8 train.cache=none", {}, "train.cache_batch_size has no effect: train.cache"),
        ("skip", "data.held_out=1/4", {}, "data.held_out has no effect: base_to_new does not evaluate the shots"),
        ("coop", "coop.n_ctx=8", {}, "coop.n_ctx has no effect: the context has the words of ctx_init='a drawing of"),
        ("maple", "maple.n_ctx=6 maple.ctx_init=hello", {}, "maple.ctx_init has no effect: a context of n_ctx=6 is"),
        ("coop", "data.templates=finetune", {}, "data.templates has no effect: coop has prompts of its own"),
        ("skip", "train.momentum=0.5 train.optimizer=adam", {}, "train.momentum has no effect: it is of sgd"),
        ("skip", "train.eps=1e-4", {}, "train.eps has no effect: it is of adam and adamw"),
        ("skip", "train.betas=[0.8,0.9]", {}, "train.betas has no effect: it is of adam and adamw"),
        ("skip", "train.lr_min=1e-4 train.schedule=constant", {}, "train.lr_min has no effect: train.schedule is"),
        ("zeroshot", "train.lr=0.1", {}, "train.lr has no effect: nothing trains"),
        ("lp_plus_plus", "train.lr=0.1", {}, "train.lr has no effect: the step sizes follow from the shots"),
        ("skip", "wandb.project=x wandb.mode=disabled", {}, "wandb.project has no effect: wandb.mode is disabled"),
    ],
)  # fmt: skip
def test_what_changes_nothing_is_told(methods: str, words: str, changes: dict[str, object], line: str) -> None:
    (found,) = told(words, methods=methods, **changes)
    assert found.startswith(line)


@pytest.mark.parametrize(
    ("methods", "words", "changes"),
    [
        ("all", "", {}),
        ("skip", "train.validate_every=1", {}),
        ("skip", "train.validate_every=1", {"protocol": "base_to_new_validation"}),
        ("skip", "train.batches=same_class train.lr_image=0.1 train.warmup_lr=0.1 data.templates=zeroshot", {}),
        ("skip", "train.cache_batch_size=8 train.epochs=0", {"methods": "zeroshot,skip"}),
        ("zeroshot,skip", "train.lr=0.1", {}),
        ("coop", "coop.n_ctx=8 coop.ctx_init=null", {}),
        ("skip", "data.held_out=1/4", {"protocol": "base_to_new_held_out"}),
        ("zeroshot", "data.templates=finetune train.precision=bf16", {}),
    ],
)
def test_what_may_change_something_is_not(methods: str, words: str, changes: dict[str, object]) -> None:
    found = told(words, **{"methods": methods, **changes})
    assert [line for line in found if "train.cache_batch_size" not in line] == []


@pytest.fixture
def fitted(add_method: Callable[[str, str], None]) -> None:
    """A closed form, one with a choice, and a head that trains from what the shots give."""
    for name, code in (("prototypes", PROTOTYPES), ("searched", SEARCHED), ("head", HEAD)):
        add_method(name, code)


@pytest.mark.usefixtures("fitted")
@pytest.mark.parametrize(
    ("methods", "words", "line"),
    [
        ("prototypes", "train.lr=0.1", "train.lr has no effect: nothing trains"),
        ("prototypes", "select.epoch=first_best", "select.epoch has no effect: nothing trains"),
        ("prototypes", "select.pictures=test", "select.pictures has no effect: nothing is chosen on validation"),
        ("prototypes", "select.shots=all", "select.shots has no effect: nothing is chosen on validation pictures"),
        ("head", "select.shots=all", "select.shots has no effect: nothing is chosen on validation pictures"),
        ("head", "select.epoch_pictures=test", "select.epoch_pictures has no effect: select.epoch is last"),
        ("coop", "train.fit_views=3", "train.fit_views has no effect: the method computes nothing from the shots but"),
        ("zeroshot", "train.views=3", "train.views has no effect: nothing trains"),
        ("zeroshot", "data.flip=false", "data.flip has no effect: nothing trains"),
    ],
)
def test_what_a_method_does_not_do_has_no_settings(methods: str, words: str, line: str) -> None:
    (found,) = told(words, methods=methods)
    assert found.startswith(line)


@pytest.mark.usefixtures("fitted")
def test_choices_on_test_pictures_look_at_no_validation_pictures() -> None:
    (found,) = told("select.shots=all select.pictures=test", methods="searched")
    assert found == "select.shots has no effect: all choices are made on test pictures"
    (found,) = told("train.views=3 train.fit_views=2", methods="searched")
    assert found == "train.views has no effect: nothing trains, and train.fit_views=2 is given"


@pytest.mark.usefixtures("fitted")
@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("prototypes", "train.views=3 data.flip=false data.crop_scale=[0.5,1] train.precision=bf16"),
        ("searched", "train.fit_views=3 select.shots=all"),
        ("searched", "select.pictures=test"),
        ("head", "select.epoch=first_best select.shots=all select.epoch_pictures=val"),
        ("head", "select.epoch=first_best select.epoch_pictures=test train.lr=0.1"),
        # News of no method beside others that do it.
        ("zeroshot,searched,head", "select.shots=all train.fit_views=3 train.lr=0.1"),
    ],
)
def test_settings_of_what_a_method_does_have_an_effect(methods: str, words: str) -> None:
    assert told(words, methods=methods) == []


def test_a_method_names_settings_of_runs_that_it_takes_from_elsewhere(add_method: Callable[[str, str], None]) -> None:
    own = (
        HEAD
        + """
    @classmethod
    def unused(cls, config: Method.Config) -> dict[str, str]:
        return {"train.lr": "the rate follows from the shots"}
"""
    )
    add_method("head", own)
    assert told("train.lr=0.1", methods="head") == ["train.lr has no effect: the rate follows from the shots"]


def test_another_executor_and_one_sample_for_all_seeds() -> None:
    schedule = [
        Setting("schedule.executor", "local", "default"),
        Setting("schedule.slurm.partition", "x", COMMAND_LINE),
    ]
    assert without_effect([], schedule) == ["schedule.slurm.partition has no effect: the executor is local, not slurm"]


def test_seeds_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"methods": ["skip", "zeroshot"], "seeds": "1..50"}
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes, COMMAND_LINE)
    planned = plan_grid(experiment, parse_overrides(["train.momentum=0.5", "train.optimizer=adam"]))
    asked = []

    def counting(spec: RunSpec, key: str) -> str | None:
        asked.append((spec.method, key))
        return reason_in(spec, key)

    monkeypatch.setattr(module, "reason_in", counting)
    told = without_effect(planned)
    assert len(planned) == 51
    assert len(asked) == len(set(asked))
    assert "train.momentum has no effect in 50 of 51 runs, such as skip-emoji-16shot-seed1: it is of sgd" in told


def test_it_is_told_before_the_first_run() -> None:
    done = skipbench("bench", "zeroshot", "train.validate_every=1", "--dry-run", RESULTS="nowhere")
    (line,) = done.stderr.splitlines()
    assert line.startswith("note: train.validate_every has no effect: nothing trains")
