"""QuickGELU or GELU: a part of the architecture that no weights show, and that open_clip puts into a model's name."""

from typing import TYPE_CHECKING

from harness.clip.backbones import Backbone, model_config, model_names
from harness.clip.checkpoints import State, has_openai_scale, is_exact_in_fp16
from harness.clip.openai_texts import texts_of_openai
from harness.errors import UserError

if TYPE_CHECKING:
    import open_clip

    from harness.clip.network import Network


def twin_of(model: str) -> str:
    """The name of the same model with the other activation; open_clip may have none of that name."""
    return model.removesuffix("-quickgelu") if model_config(model).quick_gelu else f"{model}-quickgelu"


def refuse_wrong_activation(model: str, weights_use_quick_gelu: bool, weights: str) -> None:
    """Raise a UserError that names the right model if weights were trained with another activation than the model's.

    Args:
        model: open_clip model name.
        weights_use_quick_gelu: whether the weights were trained with QuickGELU.
        weights: what they are, for the message.
    """
    if model_config(model).quick_gelu == weights_use_quick_gelu:
        return
    activation = "QuickGELU" if weights_use_quick_gelu else "plain GELU"
    raise UserError(
        f"backbone '{model}' would run {weights} with the wrong activation: they were trained with {activation}. "
        f"Use '{twin_of(model)}' instead."
    )


def doubt_about(
    backbone: Backbone, network: "Network | open_clip.model.CLIP", state: State, quick_gelu: bool
) -> str | None:
    """What to tell the user about the activation of a file that does not say it; None if nothing.

    Args:
        backbone: of the file.
        network: with its weights.
        state: its tensors.
        quick_gelu: whether the network computes QuickGELU.

    Raises:
        UserError: these are OpenAI's weights, and the network does not.
    """
    if texts_of_openai(network):
        if backbone.model:
            refuse_wrong_activation(backbone.model, True, "OpenAI's weights")
        elif not quick_gelu:
            raise UserError(
                f"configuration '{backbone.configuration}' says quick_gelu false, and the weights beside it are "
                'OpenAI\'s, which were trained with QuickGELU: write "quick_gelu": true'
            )
        return None
    return doubt_about_activation(backbone.model, state) if backbone.model else None


def doubt_about_activation(model: str, state: State) -> str | None:
    """What to tell the user about a plain state dict whose activation only the name of the model says.

    Args:
        model: open_clip model name, as the user gave it.
        state: the tensors of the file.

    Returns:
        One sentence; None for a model with QuickGELU whose weights look like OpenAI's, which were trained with it.
    """
    if model_config(model).is_siglip:  # none was trained with QuickGELU
        return None
    looks_like_openai = has_openai_scale(state) and is_exact_in_fp16(state)
    quick_gelu = model_config(model).quick_gelu
    if quick_gelu and looks_like_openai:
        return None
    ours, other = ("QuickGELU", "GELU") if quick_gelu else ("GELU", "QuickGELU")
    twin = twin_of(model)
    instead = f"use '{twin}'" if twin in model_names() else "put an open_clip configuration beside it"
    signs = (
        " Its logit scale is 100 and its matrices are exact in fp16, as in OpenAI's weights, which need QuickGELU."
        if looks_like_openai
        else ""
    )
    return (
        f"a state dict does not say which activation it was trained with, and '{model}' computes {ours}: "
        f"if these weights were trained with {other}, {instead}.{signs}"
    )
