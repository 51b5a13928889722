"""How important each setting of a space is for each objective, and whether that can be told apart from chance."""

import random
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.tune.sweep import Sweep

# PED-ANOVA compares the best trials with all; its authors want at least this many among the best.
BEST_TRIALS = 5
USUAL_SHARE, LARGEST_SHARE = 0.1, 0.25
FEWEST_TRIALS = round(BEST_TRIALS / LARGEST_SHARE)
# A setting stands out if its importance is reached in at most this share of so many studies with shuffled values: of
# all trials, and of those that agree in another setting.
SHUFFLES = 100
CHANCE, CHANCE_IN_GROUPS = 0.02, 0.2
MAY_BE_CHANCE = "may be chance"


@dataclass(frozen=True)
class Importance:
    """Of the settings for one objective.

    Attributes:
        shares: setting -> its share, largest first; their sum is 1.
        by_chance: settings whose importance may be chance.
        trials: which trials were compared, in words.
        reason: why there are no shares; empty otherwise.
    """

    shares: dict[str, float]
    by_chance: frozenset[str] = frozenset()
    trials: str = ""
    reason: str = ""

    def told(self, metric: str) -> str:
        """As one line."""
        if self.reason:
            return f"Importance for {metric}: not given: {self.reason}"
        shares = ", ".join(f"{key} {share:.2f}{self._doubt(key)}" for key, share in self.shares.items())
        return f"Importance for {metric} ({self.trials}): {shares}"

    def _doubt(self, key: str) -> str:
        return f" ({MAY_BE_CHANCE})" if key in self.by_chance else ""


def importances(study: optuna.Study, sweep: Sweep) -> dict[str, Importance]:
    """Objective -> importance of the settings for reaching its best values (PED-ANOVA).

    Empty for a space with a single setting, which has nothing to be compared with.
    """
    if len(sweep.space) < 2:
        return {}
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {metric: importance_for(done, losses(done, sweep, index)) for index, metric in enumerate(sweep.objectives)}


def losses(trials: Sequence[FrozenTrial], sweep: Sweep, index: int) -> list[float]:
    """One objective of some trials, with a sign such that lower is better, as PED-ANOVA takes it."""
    sign = -1.0 if sweep.directions[index] == "maximize" else 1.0
    return [sign * trial.values[index] for trial in trials]


def importance_for(trials: Sequence[FrozenTrial], values: Sequence[float]) -> Importance:
    """Importance of the settings of some trials for low values.

    Chance is what remains where values are shuffled among the trials. A setting must stand out from that among all
    trials, and also among trials that agree in any other setting: a sampler draws settings together, so that one that
    does nothing may follow one that matters.

    Args:
        trials: complete ones.
        values: of each, lower is better.
    """
    if len(trials) < FEWEST_TRIALS:
        few = f"{len(trials)} complete trial{'' if len(trials) == 1 else 's'}"
        return Importance({}, reason=f"{few}, at least {FEWEST_TRIALS} are needed")
    if max(values) == min(values):
        return Importance({}, reason="all trials have the same value")
    evaluation = Evaluation(trials)
    found = evaluation.of_all(values)
    total = sum(found.values())
    if not total:
        return Importance({}, reason="the best trials do not differ from the others")
    shares = {key: found[key] / total for key in sorted(found, key=lambda key: -found[key])}
    by_chance = (key for key in shares if not stands_out(evaluation, key, values, found[key]))
    compared = f"the best {evaluation.best:.0%} of {len(trials)} trials compared with all"
    return Importance(shares, frozenset(by_chance), compared)


def stands_out(evaluation: "Evaluation", key: str, values: Sequence[float], importance: float) -> bool:
    """Whether the importance of a setting is above what shuffled values give it."""
    chance = random.Random(0)
    for number, groups in enumerate(evaluation.groupings(key)):
        left = SHUFFLES * (CHANCE_IN_GROUPS if number else CHANCE)
        for _ in range(SHUFFLES):
            shuffled = list(values)
            for group in groups:
                for place, value in zip(group, chance.sample([values[at] for at in group], len(group)), strict=True):
                    shuffled[place] = value
            left -= evaluation.of(key, shuffled) >= importance * (1 - 1e-9)
            if left < 0:
                return False
    return True


class Evaluation:
    """PED-ANOVA over the settings of some trials, for any values of theirs.

    Args:
        trials: complete ones.

    Attributes:
        best: share of the trials that are compared with all.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        self.trials = trials
        self.keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
        self.best = max(USUAL_SHARE, BEST_TRIALS / len(trials))
        self.evaluator = PedAnovaImportanceEvaluator(target_quantile=self.best)
        # A study of its own, in memory: that of the sweep may lie in a database, which would be asked each time.
        self.study = optuna.create_study()
        for trial in trials:
            self.study.add_trial(create_trial(value=0.0, params=trial.params, distributions=trial.distributions))

    def of_all(self, values: Sequence[float]) -> dict[str, float]:
        """Setting -> importance, not yet as a share."""
        return self._evaluate(self.keys, values)

    def of(self, key: str, values: Sequence[float]) -> float:
        """Importance of one setting."""
        return self._evaluate([key], values)[key]

    def _evaluate(self, keys: list[str], values: Sequence[float]) -> dict[str, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.evaluator.evaluate(self.study, keys, target=lambda trial: values[trial.number])
        return {key: float(found[key]) for key in keys}

    def groupings(self, key: str) -> list[list[list[int]]]:
        """All trials as one group, and for every other setting those that agree in it; by their places."""
        others = [other for other in self.keys if other != key]
        return [[list(range(len(self.trials)))], *(self._grouped(other) for other in others)]

    def _grouped(self, key: str) -> list[list[int]]:
        """The trials by the values of a setting, or by ranges of them where almost all differ."""
        given = [trial.params.get(key) for trial in self.trials]
        groups: dict[Any, list[int]] = defaultdict(list)
        for place, value in enumerate(given):
            groups[value].append(place)
        if len(groups) <= len(given) / 3:
            return list(groups.values())
        ordered = sorted(range(len(given)), key=lambda place: (str(type(given[place])), given[place]))
        size = max(BEST_TRIALS, len(given) // 10)
        return [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]
