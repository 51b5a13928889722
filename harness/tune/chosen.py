"""From a sweep to runs on test images: settings are chosen on validation images, and tested under another protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.experiment.grid import expand, load_experiment
from harness.experiment.protocols import PROTOCOLS, find_protocol
from harness.experiment.recipes import EXPERIMENTS
from harness.experiment.settings import Settings
from harness.experiment.spec import RunSpec
from harness.text import counted
from harness.tune.report import write_outcome
from harness.tune.study import OnTrials, execute
from harness.tune.sweep import Sweep
from harness.tune.sweep_file import load_sweep


@dataclass(frozen=True)
class Place:
    """What runs are tested on.

    Attributes:
        protocol: that reads test images.
        dataset: to train on.
        shots: training images a class.
    """

    protocol: str
    dataset: str
    shots: int


def validating(protocol: str) -> str:
    """The protocol under which settings for another one are chosen on validation images.

    Raises:
        UserError: there is none, or no such protocol.
    """
    find_protocol(protocol)
    found = [item.name for item in PROTOCOLS.values() if item.validates == protocol and not item.needs_folds]
    if not found:
        known = sorted({item.validates for item in PROTOCOLS.values() if item.validates})
        raise UserError(f"no protocol chooses settings for '{protocol}': use {' or '.join(known)}")
    return found[0]


def place_of(sweep: Sweep) -> Place:
    """What the settings of a sweep are meant for."""
    protocol = find_protocol(sweep.protocol).validates
    if protocol is None:
        raise UserError(
            f"protocol '{sweep.protocol}' chooses no settings: use one that validates, see `skipbench list`"
        )
    return Place(protocol, sweep.dataset, sweep.shots)


def plain_sweep(name: str, changes: Settings, schedule: Settings) -> Sweep:
    """A sweep with one objective and no other reason to stop than its budget, so that several can be compared.

    Args:
        name: of the sweep, or its file.
        changes: as `load_sweep` takes them; the objective is the headline metric of its protocol if they name none.
        schedule: settings of its schedule.

    Raises:
        UserError: no such sweep, or something in it that is wrong.
    """
    protocol = str(changes.get("protocol") or load_sweep(name, changes, schedule).protocol)
    always: Settings = {
        "pruner": "none",
        "limits": {},
        "time_budget": None,
        "objectives": [find_protocol(protocol).headline],
    }
    return load_sweep(name, {**always, **changes}, schedule)


def choose(sweep: Sweep, results: Path, on_trials: OnTrials) -> Path:
    """Execute a sweep to its end and write what it found; a finished one is only read.

    Returns:
        The recipe of its best trial.

    Raises:
        UserError: no trial came to its end, or the sweep cannot be executed.
    """
    study = execute(sweep, results, on_trials)
    return write_outcome(study, sweep, {}, results / "sweeps" / sweep.study_name, draws=False)[0]


def tested(sweep: Sweep, place: Place, seeds: Sequence[int], recipe: Path | None, name: str) -> list[RunSpec]:
    """The runs on test images with chosen settings.

    Args:
        sweep: says method, backbone and what all runs have.
        place: what they are tested on.
        seeds: of the runs.
        recipe: the chosen settings; None: the recipe that the sweep changes, with what it sets in all trials.
        name: of the experiment.

    Raises:
        UserError: settings that no run can take there.
    """
    changes = {
        "name": name,
        "protocol": place.protocol,
        "methods": [sweep.method],
        "datasets": [place.dataset],
        "backbone": sweep.backbone,
        "shots": [place.shots],
        "seeds": list(seeds),
        "recipe": str(recipe) if recipe else sweep.recipe,
    }
    source = f"sweep {sweep.name}"
    experiment = load_experiment(EXPERIMENTS / "bench.yaml", changes, source)
    return expand(experiment if recipe else experiment.with_settings(sweep.settings, source))


def runs_of_trials(sweep: Sweep) -> int:
    """How many runs a sweep takes at most."""
    return sweep.num_trials * len(sweep.specs({}))


def told(sweeps: Sequence[Sweep]) -> str:
    """How many runs some sweeps take, in words: `2 sweeps x 6 trials = 24 runs on validation images`."""
    total = sum(map(runs_of_trials, sweeps))
    trials = sorted({sweep.num_trials for sweep in sweeps})
    of = counted(trials[0], "trial") if len(trials) == 1 else f"{trials[0]} to {trials[-1]} trials"
    return f"{counted(len(sweeps), 'sweep')} of {of}: {counted(total, 'run')} on validation images"
