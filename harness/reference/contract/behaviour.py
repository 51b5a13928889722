"""Properties of what a method does: builds, classifies, trains."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from harness.clip.texts import Text
from harness.clip.towers import END
from harness.errors import UserError
from harness.experiment.training_spec import Precision
from harness.reference.contract.candidate import Candidate
from harness.reference.contract.same import is_close
from harness.reference.contract.verdicts import Broken, NothingToCheck, explain
from harness.reference.contract.ways import BATCH, PLAIN, Way, all_tensors
from harness.training.inference import run_frozen, set_classes
from harness.training.optimizer import is_optimizer_state
from harness.training.state import trained_parameters, trained_state
from harness.training.step import loss_of
from methods.base import Method, OtherClassesError, Shots

PRECISIONS: tuple[str, ...] = get_args(Precision)


def builds_on_a_clip(candidate: Candidate) -> str:
    """The method can be built with its default options, or those given, and fitted to a few shots of a few classes."""
    texts = candidate.texts
    if len(set(texts)) < len(texts):
        raise Broken(f"prompt_template() gives several classes the prompt '{texts[0]}': keep its {{}}")
    method = candidate.build()
    infinite = [name for name, value in trained_state(method).items() if not value.isfinite().all()]
    if infinite:
        raise Broken(f"'{infinite[0]}' is not finite after {candidate.last_step}()")
    declared = trained_parameters(method)
    trained = sum(parameter.numel() for parameter in declared.values())
    return f"{trained:,} of {sum(parameter.numel() for parameter in method.parameters()):,} parameters train"


def gives_logits(candidate: Candidate) -> str:
    """Logits are (B, C) finite numbers that depend on nothing but the image and the classes."""
    method, pixels = candidate.build(), candidate.test_pixels
    logits = checked_logits(candidate, method, candidate.texts, pixels)
    if not torch.equal(candidate.logits(method, candidate.texts), logits):
        raise Broken(
            "logits() of the same images differs between two calls: let evaluation draw and count nothing (modules "
            "are never switched to evaluation mode)"
        )
    one_by_one = torch.cat([candidate.logits(method, candidate.texts, image) for image in pixels.split(1)])
    if not is_close(one_by_one, logits):
        distance = float((one_by_one - logits).abs().max())
        raise Broken(f"logits() of an image depend on the other images of its batch: they differ by {distance:.1e}")
    return f"({len(pixels)}, {len(candidate.texts)})"


def takes_other_classes(candidate: Candidate) -> str:
    """Other classes can be set at any time, or are refused before training."""
    method, texts = candidate.build(), candidate.texts
    refusal = candidate.refusal(method)
    if refusal:
        return f"refuses before training: {refusal}"
    logits = candidate.logits(method, texts)
    try:
        checked_logits(candidate, method, candidate.other_texts, candidate.test_pixels)
    except OtherClassesError as error:
        raise Broken(
            "set_classes() refuses other classes, which would be known only after training: let check_classes() raise "
            "that OtherClassesError"
        ) from error
    # Not of the training classes: what a method knows of them may decide their logits, in their own order.
    others = candidate.other_texts
    if not is_close(candidate.logits(method, others[::-1]).flip(1), candidate.logits(method, others)):
        raise Broken(
            "the same classes in reverse order have other logits: something still belongs to the classes that were "
            "set before; compute it in text_features(), or renew it in set_classes()"
        )
    if not torch.equal(candidate.logits(method, texts), logits):
        raise Broken("the logits of the training classes differ once other classes were set and set back")
    return f"{len(texts)} classes, then {len(candidate.other_texts)} others"


def takes_one_class_and_one_image(candidate: Candidate) -> str:
    """Training and logits work for a single class and for a single image, or `fit` refuses with a clear reason."""
    shots = candidate.shots() if candidate.cls.is_fitted() else None
    cases = [("one class", 1, BATCH, shots and some_of(shots, shots.labels == 0)), ("one image", None, 1, shots)]
    if shots:
        cases.append(("one shot", None, BATCH, replace(some_of(shots, first_of_each(shots.labels)), per_class=1)))
    refusals = []
    for what, classes, number, few in cases:
        texts, pixels = candidate.texts[:classes], candidate.test_pixels[:number]
        try:
            method = candidate.build(texts=texts, shots=few)
            checked_logits(candidate, method, texts, pixels)
            if trained_parameters(method):
                first_loss(method, pixels).backward()
        except UserError as refusal:
            refusals.append(f"refuses {what}: {refusal}")
        except Exception as error:
            raise Broken(f"with {what}: {explain(error, candidate.files[0])}") from error
    return "; ".join(refusals)


def some_of(shots: Shots, which: Tensor) -> Shots:
    """A part of the shots, given by a mask (N,)."""
    return replace(shots, x=shots.x[:, which].clone(), labels=shots.labels[which].clone())


def first_of_each(labels: Tensor) -> Tensor:
    """A mask (N,) of the first image of every class."""
    order = labels.tolist()
    return torch.tensor([order.index(label) == position for position, label in enumerate(order)])


def trains(candidate: Candidate) -> str:
    """The loss is finite, what is declared to train gets gradients, and weights change."""
    declared = trained_parameters(candidate.build())
    if not candidate.cls.trains:
        if declared:
            raise Broken(f"'{next(iter(declared))}' requires gradients although the class says trains = False")
        raise NothingToCheck("the class says trains = False")
    if not declared:
        raise Broken(
            f"nothing requires gradients after {candidate.last_step}(): create parameters or call train_towers_from(); "
            "a method that trains nothing says trains = False"
        )
    trained = candidate.trained
    stepped = {name.split(".", 1)[1] for name in trained.state if is_optimizer_state(name)}
    without = [name for name in declared if name not in stepped]
    if without:
        raise Broken(
            f"'{without[0]}' requires gradients and never gets one: leave it frozen, or let start_stages() begin "
            "before it, since what comes earlier runs without gradients"
        )
    if all(torch.equal(trained.before[name], trained.state[name]) for name in declared):
        raise Broken("no weight changed in two epochs: is the loss connected to them? Or give a larger train.lr=")
    return f"loss {trained.losses[0]:.3f}, then {trained.losses[-1]:.3f}"


def changes_only_what_trains(candidate: Candidate) -> str:
    """Everything that does not require gradients keeps its bits, the backbone's weights first of all."""
    declared = trained_parameters(candidate.build()).keys()
    if candidate.cls.trains:
        method, before = candidate.trained.method, candidate.trained.before
    else:
        method = candidate.build()
        before = all_tensors(method)
        candidate.logits(method, candidate.texts)
    differing = declared ^ trained_parameters(method).keys()
    if differing:
        raise Broken(f"'{min(differing)}' begins or ceases to require gradients in training: decide that in build()")
    expected = {**before, **candidate.original_weights()}
    own_buffers = {name for name, _ in method.named_buffers() if not name.startswith("clip.")}
    frozen = {name: value for name, value in all_tensors(method).items() if name not in declared | own_buffers}
    changed = [name for name, value in frozen.items() if not torch.equal(value, expected[name])]
    if changed:
        raise Broken(
            f"'{changed[0]}' changes although it is frozen: let it require gradients in build(), or work on a copy"
        )
    return f"{len(frozen)} frozen tensors"


def keeps_its_teacher_frozen(candidate: Candidate) -> str:
    """After the training the untouched CLIP, as a teacher, gives the same embeddings of texts and of images."""
    cls = candidate.cls
    if cls.teacher is None and cls.frozen_view is None:
        raise NothingToCheck("the class names no teacher and no frozen_view")
    fresh, finished = taught(candidate, candidate.build()), taught(candidate, candidate.finished)
    for what, embeddings in fresh.items():
        if not torch.equal(finished[what], embeddings):
            names = [name for name in trained_parameters(candidate.finished) if name.startswith(f"clip.{what}.")]
            cause = f", since '{names[0]}' trains" if names else ""
            raise Broken(
                f"what the untouched CLIP gives of {what}s is another after training{cause}: train parameters of your "
                "own or a copy made in build(), since the teacher is computed with the weights of self.clip"
            )
    return " and ".join(f"{len(embeddings)} {what}s" for what, embeddings in fresh.items())


def taught(candidate: Candidate, method: Method) -> dict[str, Tensor]:
    """Tower -> what a method's teacher gives of the training classes and of the test images, if it is asked for it."""
    found = {}
    if method.teacher:
        torch.manual_seed(0)  # it may draw
        set_classes(method, method.clip.tokenize(candidate.texts), "fp32")
        assert method.teacher_text is not None
        found["text"] = method.teacher_text.clone()
    if method.frozen_view:
        found["image"] = run_frozen(method.clip, candidate.test_pixels, END, "fp32")
    return found


def reports_facts_as_numbers(candidate: Candidate) -> str:
    """`facts()` can be written into a result."""
    method = candidate.finished
    facts = method.facts()
    wrong = [name for name, value in facts.items() if not isinstance(value, int | float) or not math.isfinite(value)]
    if wrong:
        value = facts[wrong[0]]
        raise Broken(f"facts() gives {wrong[0]} as {type(value).__name__} {value}: give a finite int or float")
    return ", ".join(f"{name} {value:g}" for name, value in facts.items())


def works_in_every_precision(candidate: Candidate) -> str:
    """Fitting, training and logits stay finite in fp32, bf16, fp16 and half."""
    for precision in PRECISIONS:
        way = Way(precision=precision)
        try:
            method = candidate.build(way)
            refuse_narrow_weights(method, precision)
            if candidate.cls.trains:
                method = (candidate.trained if way == PLAIN else candidate.train(way)).method
            checked_logits(candidate, method, candidate.texts, candidate.test_pixels, precision)
        except Exception as error:
            raise Broken(f"train.precision={precision}: {explain(error, candidate.files[0])}") from error
    return ", ".join(PRECISIONS)


def refuse_narrow_weights(method: Method, precision: str) -> None:
    """Raise Broken if something trains in the type of autocast computations, in which a loss scale cannot work."""
    for name, parameter in trained_parameters(method).items():
        if precision != "half" and parameter.dtype != torch.float32:
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise Broken(f"'{name}' is {dtype}, as autocast computes: begin with float32, by .float()")


def checked_logits(
    candidate: Candidate, method: Method, texts: Sequence[Text], pixels: Tensor, precision: str = "fp32"
) -> Tensor:
    """Logits of images among the classes of some prompts.

    Raises:
        Broken: they are no finite numbers (B, C).
    """
    logits = candidate.logits(method, texts, pixels, precision)
    expected = (len(pixels), len(texts))
    if logits.shape != expected:
        raise Broken(
            f"logits() has the shape {tuple(logits.shape)} for {expected[0]} images and {expected[1]} classes: return "
            f"{expected}, of the classes that are set"
        )
    if not logits.isfinite().all():
        raise Broken("logits() is not finite")
    return logits


def first_loss(method: Method, pixels: Tensor) -> Tensor:
    """Loss of images that all belong to the first class.

    Raises:
        Broken: it is no finite number.
    """
    x = run_frozen(method.clip, pixels, method.image_start, "fp32")
    frozen = run_frozen(method.clip, pixels, END, "fp32") if method.frozen_view else None
    loss = loss_of(method, x, torch.zeros(len(x), dtype=torch.int64), frozen)
    if loss.shape != () or not loss.isfinite():
        raise Broken(f"loss() gives {loss.detach()}: return one finite number")
    return loss
