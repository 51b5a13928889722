"""The steps that the official code took, and its optimizer and schedule as a recipe of ours."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from harness.errors import UserError
from harness.experiment.training_spec import TrainSpec
from harness.reference.parity.description import incomplete
from harness.reference.parity.subject import Subject

OPTIMIZERS = ("SGD", "Adam", "AdamW")
COSINE = "CosineAnnealingLR"
EACH_STEP = "per iteration"


class Step(NamedTuple):
    """One training step.

    Attributes:
        x: images at the method's stage.
        labels: (B,).
        number: 0, 1, ... of the training.
        epoch: in which it is.
        place: in the epoch: 0, 1, ...
        steps: of the epoch.
        frozen: what the untouched CLIP makes of the images, if the method asks for that.
    """

    x: Tensor
    labels: Tensor
    number: int
    epoch: int
    place: int
    steps: int
    frozen: Tensor | None = None

    @property
    def ends_epoch(self) -> bool:
        """Whether it is the last of its epoch."""
        return self.place + 1 == self.steps


def loss_name(subject: Subject) -> str:
    """Name of the stored losses: those of cross entropy alone, where gradients are changed and no sum is minimised."""
    return "train_losses" if subject.has("train_losses") else "train_xe_losses"


def steps_of(subject: Subject) -> list[Step]:
    """The steps that the official code took.

    Raises:
        UserError: there are not as many losses.
    """
    if subject.has("epoch_order"):
        found = _from_bank(subject)
    elif subject.vectors.about.optimizer.batch:
        found = _of_all_images(subject)
    else:
        found = _of_stored_batches(subject)
    steps, losses = list(found), len(subject.stored[loss_name(subject)])
    if len(steps) != losses:
        raise incomplete(subject.vectors.file, f"it tells of {len(steps)} training steps, and holds {losses} losses")
    return steps


def _from_bank(subject: Subject) -> Iterator[Step]:
    """Batches of a bank of all views of all images; an epoch has as many as one view of all images would give."""
    x, shots = subject.shots.x.flatten(0, 1), len(subject.shots.labels)
    labels = subject.shots.labels.repeat(len(x) // shots)
    size = subject.option("BATCH_SIZE") or shots
    # Fewer images than a batch are one batch.
    steps = max(1, shots // size)
    for epoch, order in enumerate(subject.stored["epoch_order"]):
        for place, rows in enumerate(order.split(size)[:steps]):
            yield Step(x[rows], labels[rows], epoch * steps + place, epoch, place, steps)


def _of_all_images(subject: Subject) -> Iterator[Step]:
    """All images at once, in one view of them."""
    views = subject.vectors.about.optimizer.view_order or [0] * len(subject.stored["train_losses"])
    for epoch, view in enumerate(views):
        yield Step(subject.shots.x[view], subject.shots.labels, epoch, epoch, 0, 1)


def _of_stored_batches(subject: Subject) -> Iterator[Step]:
    vectors = subject.vectors
    steps = len(vectors.train_images)
    for number, batch in enumerate(vectors.about.optimizer.batch_order or range(steps)):
        x = subject.run_frozen(vectors.train_images[batch])
        yield Step(x, vectors.train_labels[batch], number, *divmod(number, steps), steps, subject.frozen(batch))


def recipe_of(subject: Subject, steps: int) -> TrainSpec:
    """The official optimizer and schedule as a recipe of ours.

    Args:
        subject: of the training.
        steps: of an epoch.

    Raises:
        UserError: we have no such optimizer or schedule.
    """
    theirs, options = subject.vectors.about.optimizer, subject.vectors.about.hyper.method_options
    if theirs.name not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise UserError(f"{subject.vectors.file}: there is no optimizer '{theirs.name}' here; known: {known}")
    if isinstance(theirs.lr, str) and not subject.has(theirs.lr):
        raise incomplete(subject.vectors.file, f"it names a learning rate '{theirs.lr}', and holds none")
    scheduler = theirs.scheduler
    schedule: dict[str, Any] = {"schedule": "constant"}
    if scheduler and scheduler.name != COSINE:
        raise UserError(f"{subject.vectors.file}: there is no schedule '{scheduler.name}' here; known: {COSINE}")
    if scheduler:
        # Stepped within epochs, it must end with one.
        within = scheduler.stepped == EACH_STEP and scheduler.T_max % steps == 0
        epochs = scheduler.T_max // steps if within else scheduler.T_max
        schedule = {"schedule": "step" if within else "epoch", "epochs": epochs, "lr_min": scheduler.eta_min}
    return TrainSpec(
        optimizer=theirs.name.lower(),
        # A rate that follows from data is the method's own; what the method forgets would not move.
        lr=0.0 if isinstance(theirs.lr, str) else theirs.lr,
        lr_image=options.get("OPTIM.NEW_LR") if options.get("OPTIM.STAGED_LR") else None,
        momentum=theirs.momentum,
        betas=theirs.betas,
        eps=theirs.eps,
        weight_decay=theirs.weight_decay,
        **schedule,
    )


def moment(recipe: TrainSpec, subject: Subject, step: Step) -> tuple[int, int, int]:
    """Epoch, step and steps of the epoch for the schedule of a recipe."""
    scheduler = subject.vectors.about.optimizer.scheduler
    if recipe.schedule == "step":
        return step.epoch, step.place, step.steps
    return step.number if scheduler and scheduler.stepped == EACH_STEP else step.epoch, 0, 1
