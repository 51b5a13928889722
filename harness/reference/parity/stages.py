"""What the frozen towers compute, beside the official activations and features."""

import random
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.clip.prompts import Prompts
from harness.clip.towers import END, POOLED, RAW
from harness.data.sampler import random_batches, same_class_batches
from harness.reference.parity.comparison import Found, worst_element
from harness.reference.parity.naming import official_of, our_name
from harness.reference.parity.subject import Subject, is_of_new_classes

UNIT = 1e-3
"""How far the norm of normalised features may be from 1."""
FINAL = "final."
"""Beginning of the names of what a search ends with."""
STORED_STATE = ("const.", "cache.")


def check_inputs(subject: Subject) -> Iterator[Found]:
    """Token ids, which parameters train, and how batches are drawn: all exact."""
    for name, prompts in (("tokens.base", subject.prompts), ("tokens.new", subject.prompts_new)):
        if subject.has(name):
            yield name, worst_element(prompts.ids, subject.stored[name][:, : prompts.ids.shape[1]], 0.0, 0.0)
    parameters = dict(subject.method.named_parameters())
    ours = {name for name, parameter in parameters.items() if parameter.requires_grad}
    # What a method moves by steps of its own is a buffer.
    theirs = {our_name(name, subject.cls) for name in subject.trained}
    yield "trained tensors", (float(len(ours ^ (theirs & parameters.keys()))), 0.0)
    example = subject.vectors.about.feature_loader_example
    if example:
        drawn: dict[str, Callable[..., list[list[int]]]] = {
            "batch_random": same_class_batches,
            "random": random_batches,
        }
        for name, batches in example.batches.items():
            rng = random.Random(example.python_random_seed)
            ours_drawn = drawn[name](example.labels, example.batch_size, rng)
            yield f"batches.{name}", worst_element(torch.tensor(ours_drawn), torch.tensor(batches), 0.0, 0.0)


def check_initial_state(subject: Subject) -> Iterator[Found]:
    """Compare what the method drew or computed at the start, then take the stored values."""
    for official in official_of(subject.cls).tensors:
        if subject.has(official) and not is_of_new_classes(official) and not official.startswith(FINAL):
            if official not in subject.drawn:
                yield subject.compare(official, subject.tensor(official))
            if not official.startswith(STORED_STATE) or subject.vectors.is_first_form:
                subject.tensor(official).data.copy_(subject.stored[official])
    for official in subject.initial_names():
        ours, name = subject.tensor(official), f"init.{official}"
        if official not in subject.drawn:
            yield subject.compare(name, ours, "init")
        ours.data.copy_(subject.stored[name])
    subject.method.loaded()


def check_new_state(subject: Subject) -> Iterator[Found]:
    """What the method keeps of the new classes, which are set."""
    for official in official_of(subject.cls).tensors:
        if subject.has(official) and is_of_new_classes(official):
            yield subject.compare(official, subject.tensor(official))


@torch.no_grad()
def check_stages(subject: Subject) -> Iterator[Found]:
    """Activations and features, where the vectors hold them and the method does not."""
    for name, compute in {**_of_texts(subject), **_of_images(subject)}.items():
        if subject.has(name) and not subject.is_mapped(name):
            quantity = name.partition(".b")[0] if name.startswith("cache.image_") else name
            yield subject.compare(name, compute(), quantity)


def _of_texts(subject: Subject) -> dict[str, Callable[[], Tensor]]:
    """Name -> our value of what the text tower computes."""
    clip, method = subject.clip, subject.method

    def embeddings(prompts: Prompts) -> Tensor:
        return clip.text.run(prompts.ids)

    def tokens() -> Tensor:
        ours = clip.text.run(subject.prompts.ids, RAW, method.text_start).permute(1, 0, 2)
        # Positions after the longest prompt do not matter, and are cut.
        theirs = subject.stored["cache.text_mid"]
        return torch.cat([ours, theirs[len(ours) :]])

    def normalised(prompts: Prompts) -> Tensor:
        return F.normalize(embeddings(prompts), dim=-1)

    base, new = subject.prompts, subject.prompts_new
    return {
        "cache.text_mid": tokens,
        "cache.text_out": lambda: embeddings(base),
        "const.base_text_features": lambda: embeddings(base),
        "text_features_base": lambda: normalised(base),
        "text_features_new": lambda: normalised(new),
        "const.text_weights": lambda: normalised(base),
        "const.text_weights_new": lambda: normalised(new),
    }


def _of_images(subject: Subject) -> dict[str, Callable[[], Tensor]]:
    """Name -> our value of what the image tower computes."""
    image, labels = subject.clip.image, subject.vectors.shot_labels()

    def middle(pixels: Tensor) -> Tensor:
        return subject.run_frozen(pixels).permute(1, 0, 2)

    def bank() -> Tensor:
        features, theirs = subject.views_at(END).flatten(0, 1), subject.stored["cache.features"]
        # Some authors keep embeddings as they are, others keep them normalised.
        unit = bool(((theirs.norm(dim=-1) - 1).abs() < UNIT).all())
        return F.normalize(features, dim=-1) if unit else features

    def zero_shot() -> Tensor:
        text = subject.clip.text.run(subject.prompts.ids)
        return subject.method.similarity_logits(subject.views_at(END).flatten(0, 1), text)

    found: dict[str, Callable[[], Tensor]] = {
        "image_features_unnormalized": lambda: image.run(subject.vectors.eval_images),
        "const.eval_features": lambda: F.normalize(image.run(subject.vectors.eval_images), dim=-1),
        "const.train_features": lambda: F.normalize(subject.views_at(END)[0], dim=-1),
        "cache.view_features": lambda: subject.views_at(END),
        "cache.features": bank,
        "cache.labels": lambda: labels.repeat(len(subject.stored["cache.labels"]) // len(labels)),
        "cache.zeroshot_logits": zero_shot,
        "cache.pre_projection": lambda: subject.views_at(POOLED),
    }
    for batch, pixels in enumerate(subject.vectors.train_images):
        found[f"cache.image_mid.b{batch}"] = partial(middle, pixels)
        found[f"cache.image_out.b{batch}"] = partial(image.run, pixels)
    return found
