"""Several runs of one method in one process: their training steps are computed as one, everything else one by one.

Each run keeps its own folder, batches, learning rates, optimizer and records; it saves and reports as it does alone.
Until its training each run goes as far as it goes alone and waits there, inside of its own `execute`. The last one
takes the steps of all.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from harness.errors import first_line
from harness.results.log import writing_to
from harness.training.begun import Begun
from harness.training.events import Notice
from harness.training.run import Run
from harness.training.stacked import JointOptimizer, Stack
from harness.training.state import trained_state
from harness.training.step import loss_and_gradients
from harness.training.trainer import Trainer
from harness.training.training import Training

# Largest distance between what is computed as one and one by one, relative to the latter: far above rounding, far below
# what a mistake makes.
MOST_APART = 1e-3


def execute_together(runs: Sequence[Run], on_failure: Callable[[Run, Exception], None]) -> None:
    """Compute runs that may train as one; those that cannot are trained one after the other.

    Args:
        runs: of one method, with the same settings but for numbers.
        on_failure: takes a run that failed and why; the others go on.
    """
    waiting: list[Training] = []
    failures: dict[Training, Exception] = {}

    def go_on(left: Sequence[Run]) -> None:
        if not left:
            if len(waiting) > 1:
                train_as_one(waiting, failures)
            return
        run, *others = left
        went_on = False

        def train(training: Training) -> None:
            nonlocal went_on
            waiting.append(training)
            went_on = True
            go_on(others)
            if training in failures:
                raise failures[training]
            if len(waiting) == 1:
                training.train_alone()

        try:
            run.execute(train)
        except Exception as error:
            on_failure(run, error)
        if not went_on:
            go_on(others)

    go_on(list(runs))


def train_as_one(trainings: Sequence[Training], failures: dict[Training, Exception]) -> None:
    """Take all steps that are left of trainings.

    Args:
        trainings: that have started.
        failures: receives the trainings that failed and why.
    """
    joint = JointTraining(trainings, failures)
    try:
        joint.train()
    except Exception as error:
        # A step of all was not finished.
        failures.update({training: error for training in trainings if training not in failures})
    finally:
        joint.release()


def misfit(trainers: Sequence[Trainer], epoch: int) -> str | None:
    """Why steps cannot be computed as one; None if they can. Tries it on a first batch.

    Args:
        trainers: of the runs.
        epoch: their images are prepared for it.
    """
    images = [trainer.images for trainer in trainers]
    if not images[0].is_cached or images[0].frozen:
        return "its images are not features that are kept"
    if len({len(one.pictures) for one in images}) > 1:
        return "the runs have different numbers of pictures"
    forms = [{name: (t.shape, t.dtype) for name, t in trained_state(one.method).items()} for one in trainers]
    if any(form != forms[0] for form in forms):
        return "the runs train tensors of different shapes"
    try:
        apart = distance_from_single(trainers, epoch)
    except Exception as error:  # whatever a method does with tensors that stand for several
        return f"torch cannot compute its loss for several runs at once ({first_line(error)})"
    # Not `>`, which is false for NaN.
    return None if apart <= MOST_APART else f"losses or gradients are {apart:.1g} from those of single runs"


def distance_from_single(trainers: Sequence[Trainer], epoch: int) -> float:
    """How far losses and gradients of a first batch are from those of each method alone, relative to the latter."""
    batches = [next(iter(one.images.batches(epoch, one.draw_batches(epoch)[:1]))) for one in trainers]
    alone = []
    for trainer, (x, labels) in zip(trainers, batches, strict=True):
        with trainer.without_trace():
            loss = loss_and_gradients(trainer.method, trainer.optimizer, x, labels, trainer.spec.train.precision)
        alone.append([loss.detach(), *take_gradients(trainer)])
    with ExitStack() as traceless:
        for trainer in trainers:
            traceless.enter_context(trainer.without_trace())
        stack = Stack([trainer.method for trainer in trainers])
        try:
            losses = stack.losses_and_gradients(*map(torch.stack, zip(*batches, strict=True)))
            joint = [[loss, *take_gradients(trainer)] for loss, trainer in zip(losses, trainers, strict=True)]
        finally:
            stack.release()
    return max(map(relative_distance, alone, joint))


def take_gradients(trainer: Trainer) -> list[Tensor]:
    """The gradients of all parameters, zero where there is none; they are freed."""
    found = []
    for parameter in (one for group in trainer.optimizer.param_groups for one in group["params"]):
        found.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
        parameter.grad = None
    return found


def relative_distance(right: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest |other - right| / |right| of some tensors; where both are zero, zero."""
    apart = [(b - a).norm() / a.norm() if a.norm() > 0 else b.norm() for a, b in zip(right, other, strict=True)]
    return float(torch.stack(apart).max())


class JointTraining:
    """Trainings whose steps are computed as one; if that cannot be done, their epochs are trained one after the other.

    Args:
        trainings: that have started.
        failures: receives the trainings that failed and why.
    """

    def __init__(self, trainings: Sequence[Training], failures: dict[Training, Exception]) -> None:
        self.trainings = trainings
        self.failures = failures
        self._fit: bool | None = None
        self._stacked: list[Training] = []
        self._joint: tuple[Stack, JointOptimizer] | None = None

    def train(self) -> None:
        """Take the steps of all epochs that are left. A training that goes on from a later epoch joins in there."""
        first = {training: training.progress.epoch for training in self.trainings}
        for epoch in range(min(first.values()), self.trainings[0].trainer.epochs):
            self._run_epoch(epoch, [training for training in self.trainings if first[training] <= epoch])

    def release(self) -> None:
        """Give every method tensors of its own again."""
        if self._joint:
            self._joint[0].release()
        self._joint, self._stacked = None, []

    def _run_epoch(self, epoch: int, trainings: Sequence[Training]) -> None:
        begun: dict[Training, Begun] = {}
        for training in trainings:
            if training not in self.failures:
                with self._of(training):
                    begun[training] = training.trainer.begin_epoch(epoch)
        if len(begun) > 1 and self._fits([*begun], epoch):
            self._train_epoch(epoch, begun)
            return
        self.release()
        for training in begun:
            with self._of(training):
                training.on_epoch(training.trainer.run_epoch(epoch))

    def _fits(self, trainings: Sequence[Training], epoch: int) -> bool:
        """Whether the trainings can be computed as one; tried once, and told if they cannot."""
        if self._fit is None:
            reason = misfit([training.trainer for training in trainings], epoch)
            self._fit = reason is None
            if reason:
                for training in trainings:
                    training.session.report(Notice(f"schedule.together: the run trains by itself, since {reason}"))
        return self._fit

    def _train_epoch(self, epoch: int, begun: dict[Training, Begun]) -> None:
        stack, optimizer = self._put_together([*begun])
        trainers = [training.trainer for training in begun]
        with ExitStack() as measured:
            for training, one in begun.items():
                measured.enter_context(training.trainer.measured(one))
            totals = take_steps(trainers, [*begun.values()], stack, optimizer)
        for (training, one), total in zip(begun.items(), totals, strict=True):
            with self._of(training):
                training.on_epoch(training.trainer.end_epoch(one, total))

    @contextmanager
    def _of(self, training: Training) -> Iterator[None]:
        """Inside, a training's own log is written to, and an exception becomes its failure."""
        with writing_to(training.folder.log_file, opened=False):
            try:
                yield
            except Exception as error:
                self.failures[training] = error

    def _put_together(self, trainings: list[Training]) -> tuple[Stack, JointOptimizer]:
        """The methods and the optimizers of trainings as one; the same as in the epoch before if the trainings are."""
        if self._joint is None or trainings != self._stacked:
            self.release()
            for training in trainings:
                training.together = max(training.together, len(trainings))
            self._stacked = trainings
            self._joint = (
                Stack([training.trainer.method for training in trainings]),
                JointOptimizer([training.trainer.optimizer for training in trainings]),
            )
        return self._joint


def take_steps(trainers: Sequence[Trainer], begun: Sequence[Begun], stack: Stack, optimizer: JointOptimizer) -> Tensor:
    """Take one step of all trainers on each of their batches; returns the sums of their losses (R,).

    Args:
        trainers: R.
        begun: the same epoch of each, with batches of the same sizes.
        stack: of their methods.
        optimizer: of their optimizers.
    """
    sizes = [len(batch) for batch in begun[0].batches]
    images, labels = zip(*map(whole_epoch, trainers, begun), strict=True)
    steps = zip(torch.stack(images).split(sizes, 1), torch.stack(labels).split(sizes, 1), strict=True)
    totals = torch.zeros(len(trainers), device=images[0].device)
    for step, (x, y) in enumerate(steps):
        changed = [trainer.set_step_rates(begun[0].epoch, step, len(sizes)) for trainer in trainers]
        if any(changed):
            optimizer.take_rates()
        losses = stack.losses_and_gradients(x, y)
        optimizer.step()
        totals += losses
        for one, loss in zip(begun, losses, strict=True):
            one.watch.take(step, loss)
    return totals


def whole_epoch(trainer: Trainer, begun: Begun) -> tuple[Tensor, Tensor]:
    """The images (N, ...) and labels (N,) of all batches of an epoch, one after the other."""
    rows = [position for batch in begun.batches for position in batch]
    return next(iter(trainer.images.batches(begun.epoch, [rows])))
