"""The official training, repeated with our method, optimizer and schedule."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.reference.parity.batches import check_batch
from harness.reference.parity.comparison import Found
from harness.reference.parity.masks import replay_masks
from harness.reference.parity.naming import official_of
from harness.reference.parity.steps import Step, loss_name, moment, recipe_of, steps_of
from harness.reference.parity.subject import Subject
from harness.reference.parity.weights import Weights, check_gradients, check_movement, check_weights
from harness.training.optimizer import build_optimizer, set_rates
from harness.training.precision import autocast, gradient_scaler
from harness.training.selection import is_better
from harness.training.step import training_step

EPOCH_RULES = {"val_accuracy": "last_best", "epoch_accuracy": "first_best"}
"""Stored accuracies after each epoch -> which of the best epochs those authors keep."""
HISTORY = "_history"
AVERAGED = "after_gpa."
"""Weights that are an average over epochs: the stored training goes on with more epochs of the same steps."""


@dataclass
class KeptEpoch:
    """The epoch that the authors keep.

    Attributes:
        accuracy: its accuracy in percent; None until there is one.
        epoch: 0, 1, ...
        steps: of the training until its end.
        weights: at its end.
    """

    accuracy: float | None = None
    epoch: int = 0
    steps: int = 0
    weights: Weights = field(default_factory=dict)


class Training:
    """The official training, repeated.

    Args:
        subject: with the initial values of the official code.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.steps = steps_of(subject)
        self.recipe = recipe_of(subject, self.steps[0].steps if self.steps else 1)
        self.optimizer = build_optimizer(subject.method, self.recipe, subject.precision)
        self.scaler = gradient_scaler(subject.precision, subject.clip.device)
        self.gradients: dict[int, Tensor] = {}
        self.kept = KeptEpoch()
        self.epochs = subject.vectors.about.epochs or (self.steps[-1].epoch + 1 if self.steps else 0)

    def run(self) -> Iterator[Found]:
        """Take all steps, comparing rates, logits, losses, the first gradients, weights, and the choice of an epoch."""
        subject, before = self.subject, self._weights()
        yield from self._check_history(0)
        for step in self.steps:
            yield from self.take(step)
            if step.ends_epoch:
                yield from self._end_epoch(step)
            if step.number == 0:
                known = {name: self.gradients.get(id(value)) for name, value in subject.trained.items()}
                yield from check_gradients(subject, {name: grad for name, grad in known.items() if grad is not None})
                yield from check_weights(subject, "after1", self._weights(), 1)
        after = self._weights()
        yield from check_weights(subject, "after", after, len(self.steps))
        yield from check_movement(subject, before, after)
        yield from self._check_choice(after)
        if any(name.startswith(AVERAGED) for name in subject.stored):
            yield from self._check_average(after)

    def _weights(self) -> Weights:
        return {name: value.detach().clone() for name, value in self.subject.trained.items()}

    def take(self, step: Step) -> Iterator[Found]:
        """Take a step, comparing rate, logits, what the method computes of the batch, and loss."""
        subject, number = self.subject, step.number
        set_rates(self.optimizer, self.recipe, *moment(self.recipe, subject, step))
        replay_masks(subject, number)
        if subject.has("train_lrs"):
            yield subject.compare("train_lrs", torch.tensor(self._rate(), dtype=torch.float64), row=number)
        with torch.no_grad(), autocast(subject.precision, step.x.device):
            logits, labels = subject.method.training_logits(step.x, step.labels)
        if subject.has(f"train_logits_b{number}"):
            yield subject.compare(f"train_logits_b{number}", logits, "train_logits")
        if subject.has("train_ce"):
            yield subject.compare("train_ce", F.cross_entropy(logits, labels), row=number)
        with autocast(subject.precision, step.x.device):
            of_batch = list(check_batch(subject, step))
        yield from of_batch
        loss = self._train(step)
        yield subject.compare(loss_name(subject), loss, row=number)

    def _train(self, step: Step) -> Tensor:
        """Take a step; returns the loss before it."""
        subject = self.subject
        set_rates(self.optimizer, self.recipe, *moment(self.recipe, subject, step))
        drawn, draw = subject.vectors.about.drawn_sentence_index, official_of(subject.cls).drawn_sentences
        if drawn and draw:
            number = drawn[step.number % len(drawn)]
            sentence = torch.full((len(subject.prompts),), number, device=subject.clip.device)
            setattr(subject.method, draw, lambda: sentence)
        parameters = [value for value in subject.trained.values() if value.requires_grad]
        # As the optimizer sees them: a method may change them after the backward pass.
        hook = self.optimizer.register_step_pre_hook(lambda *_: self._keep_first(parameters))
        args = (subject.method, self.optimizer, self.scaler, step.x, step.labels, subject.precision, step.frozen)
        loss = training_step(*args)
        hook.remove()
        return loss

    def _rate(self) -> float:
        """The learning rate that the first of the trained tensors has now."""
        first = next(iter(self.subject.trained.values()))
        rates = [group["lr"] for group in self.optimizer.param_groups if any(first is p for p in group["params"])]
        return float(rates[0]) if rates else 0.0

    def _keep_first(self, parameters: list[Tensor]) -> None:
        for parameter in parameters:
            if parameter.grad is not None:
                self.gradients.setdefault(id(parameter), parameter.grad.clone())

    @torch.no_grad()
    def _end_epoch(self, step: Step) -> Iterator[Found]:
        subject, epoch = self.subject, step.epoch
        subject.method.after_epoch(epoch, self.epochs)
        yield from self._check_history(epoch + 1)
        if subject.has("epoch_eval_logits"):
            yield subject.compare("epoch_eval_logits", subject.logits(), row=epoch)
        for name, rule in EPOCH_RULES.items():
            if subject.has(name):
                accuracy = subject.accuracy()
                yield subject.compare(name, torch.tensor(accuracy, dtype=torch.float64), row=epoch)
                if is_better(accuracy, self.kept.accuracy, rule):
                    self.kept = KeptEpoch(accuracy, epoch, step.number + 1, self._weights())

    def _check_history(self, epoch: int) -> Iterator[Found]:
        """Weights that are stored for each epoch, as they are before one."""
        for name, value in self.subject.trained.items():
            if self.subject.has(name + HISTORY):
                theirs = self.subject.stored[name + HISTORY][epoch]
                same = value.reshape(theirs.shape) if value.numel() == theirs.numel() else value
                yield self.subject.compare(name + HISTORY, same, row=epoch)

    @torch.no_grad()
    def _check_choice(self, after: Weights) -> Iterator[Found]:
        """The epoch that the authors keep; if they go on with its weights, these are set."""
        subject, kept = self.subject, self.kept
        if subject.has("best_epoch"):
            yield subject.compare("best_epoch", torch.tensor(kept.epoch))
        if not kept.weights:
            return
        self._set(kept.weights)
        if subject.has("best_test_accuracy"):
            yield subject.compare("best_test_accuracy", torch.tensor(subject.accuracy(), dtype=torch.float64))
        goes_on = any(name.startswith("best.") for name in subject.stored)
        if goes_on:
            yield from check_weights(subject, "best", kept.weights, kept.steps)
        else:
            self._set(after)

    def _check_average(self, after: Weights) -> Iterator[Found]:
        """Go on with more epochs of the same steps, to the average of all epochs; then set the weights back."""
        subject = self.subject
        for epoch in range(self.steps[-1].epoch + 1, self.epochs):
            for step in self.steps:
                self._train(step._replace(epoch=epoch, number=epoch * len(self.steps) + step.place))
            with torch.no_grad():
                subject.method.after_epoch(epoch, self.epochs)
        for name, function in official_of(subject.cls).of_epochs.items():
            if subject.has(name):
                yield subject.compare(name, getattr(subject.method, function)(self.epochs))
        yield from check_weights(subject, AVERAGED.rstrip("."), self._weights(), self.epochs * len(self.steps))
        if subject.has("eval_logits_base_gpa"):
            yield subject.compare("eval_logits_base_gpa", subject.logits())
        with torch.no_grad():
            self._set(after)

    def _set(self, weights: Weights) -> None:
        for name, value in weights.items():
            self.subject.trained[name].copy_(value)
