"""OpenAI's architectures, from the shapes of their weights: QuickGELU, heads of width 64, MLPs of 4 x width."""

from harness.clip.backbones import model_config, supported_models
from harness.clip.checkpoints import State
from harness.clip.configuration import ModelConfiguration, TextConfiguration, VisionConfiguration

OPENAI_HEAD_WIDTH = 64
# How many times smaller than the image the last feature maps of a ResNet are, on each side.
RESNET_STRIDE = 32
TENSORS_OF_TEXTS = ("positional_embedding", "text_projection", "token_embedding.weight")
TENSORS_OF_VIT = ("visual.conv1.weight", "visual.positional_embedding")
TENSORS_OF_RESNET = ("visual.layer1.0.conv1.weight", "visual.attnpool.positional_embedding")


def is_resnet(state: State) -> bool:
    """Whether tensors have the names of a CLIP with a ResNet."""
    return any(name.startswith("visual.layer1.") for name in state)


def shapes_of(state: State) -> tuple[str, ...]:
    """The names of the tensors whose shapes say everything about an architecture of OpenAI's."""
    return (*(TENSORS_OF_RESNET if is_resnet(state) else TENSORS_OF_VIT), *TENSORS_OF_TEXTS)


def openai_config(state: State) -> ModelConfiguration:
    """OpenAI's architecture, from the shapes of its weights.

    Raises:
        KeyError, IndexError, ValueError: the tensors are not those of a CLIP with a ViT or a ResNet.
    """
    context_length, text_width = state["positional_embedding"].shape
    return ModelConfiguration(
        embed_dim=state["text_projection"].shape[1],
        quick_gelu=True,
        vision_cfg=resnet_config(state) if is_resnet(state) else vit_config(state),
        text_cfg=TextConfiguration(
            context_length=context_length,
            vocab_size=state["token_embedding.weight"].shape[0],
            width=text_width,
            heads=text_width // OPENAI_HEAD_WIDTH,
            layers=parts_below(state, "transformer.resblocks."),
        ),
    )


def vit_config(state: State) -> VisionConfiguration:
    """The image tower of a CLIP with a ViT; raises as `openai_config`."""
    patch_width = state["visual.conv1.weight"].shape
    return VisionConfiguration(
        layers=parts_below(state, "visual.transformer.resblocks."),
        width=patch_width[0],
        patch_size=patch_width[-1],
        image_size=grid(state["visual.positional_embedding"].shape[0]) * patch_width[-1],
    )


def resnet_config(state: State) -> VisionConfiguration:
    """The image tower of a CLIP with a ResNet; raises as `openai_config`."""
    one, two, three, four = (parts_below(state, f"visual.layer{number}.") for number in (1, 2, 3, 4))
    return VisionConfiguration(
        layers=(one, two, three, four),
        width=state["visual.layer1.0.conv1.weight"].shape[0],
        patch_size=None,
        image_size=grid(state["visual.attnpool.positional_embedding"].shape[0]) * RESNET_STRIDE,
    )


def grid(positions: int) -> int:
    """How many places a square of all positions but the first has on each side."""
    return round((positions - 1) ** 0.5)


def parts_below(state: State, prefix: str) -> int:
    """How many parts with a number of their own there are below a prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def fitting_models(state: State) -> list[str]:
    """The models of open_clip whose weights would have the shapes of these."""

    def shapes(config: ModelConfiguration) -> tuple[object, ...]:
        vision, text = config.vision_cfg, config.text_cfg
        patch_size = None if vision.is_resnet else vision.patch_size
        image = (vision.layers, vision.width, patch_size, vision.side)
        return (config.embed_dim, *image, text.context_length, text.vocab_size, text.width, text.layers)

    try:
        found = shapes(openai_config(state))
    except (KeyError, ValueError, IndexError):
        return []
    return [name for name in supported_models() if shapes(model_config(name)) == found]
