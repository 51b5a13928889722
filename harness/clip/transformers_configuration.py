"""From transformers' configuration of a CLIPModel to open_clip's: architecture, activation and preprocessing."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from harness.clip.strict_json import Part, check, shown
from harness.errors import UserError

CONFIGURATION = "config.json"
PREPROCESSING = "preprocessor_config.json"
"""In transformers' folders; version 5 writes `processor_config.json`, where the same stands under `image_processor`."""
PROCESSOR = "processor_config.json"
# Name in transformers -> whether it is QuickGELU, and the approximation of a GELU.
ACTIVATIONS = {
    "quick_gelu": (True, "none"),
    "gelu": (False, "none"),
    "gelu_new": (False, "tanh"),
    "gelu_pytorch_tanh": (False, "tanh"),
}
# Numbers of Pillow's filters.
INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
# transformers wrote 2 for the end of text until 4.31 and reads the largest id where it finds that.
CLIP_END, LEGACY_END = 49407, 2
OPEN_CLIPS_EPS = 1e-5

Number = Annotated[int, Field(ge=1, le=1_000_000)]
Side = Annotated[int, Field(ge=1, le=8192)]
Triple = tuple[float, float, float]


class Known(Part):
    """The keys of a file that decide an output; transformers writes many others, which are left alone."""

    model_config = ConfigDict(extra="ignore")


class TowerPart(Known):
    """What both towers have; fields and defaults as in transformers."""

    num_hidden_layers: Number = 12
    hidden_act: str = "quick_gelu"
    layer_norm_eps: Annotated[float, Field(gt=0, le=1)] = OPEN_CLIPS_EPS


class TextPart(TowerPart):
    """The text tower; fields and defaults as in transformers."""

    hidden_size: Number = 512
    intermediate_size: Number = 2048
    num_attention_heads: Number = 8
    vocab_size: Number = 49408
    max_position_embeddings: Number = 77
    eos_token_id: int | None = CLIP_END


class VisionPart(TowerPart):
    """The image tower; fields and defaults as in transformers."""

    hidden_size: Number = 768
    intermediate_size: Number = 3072
    num_attention_heads: Number = 12
    image_size: Side = 224
    patch_size: Side = 32
    num_channels: Literal[3] = 3


class ModelPart(Known):
    """config.json of a CLIPModel; fields and defaults as in transformers."""

    model_type: str
    projection_dim: Number = 512
    text_config: TextPart = TextPart()
    vision_config: VisionPart = VisionPart()


class Box(Known):
    """A size in pixels: of the shortest edge, or of both."""

    shortest_edge: Side | None = None
    height: Side | None = None
    width: Side | None = None


class ProcessorPart(Known):
    """preprocessor_config.json of a CLIPModel; fields and defaults as in transformers' CLIPImageProcessor."""

    image_processor_type: str | None = None
    feature_extractor_type: str | None = None
    do_resize: bool = True
    size: Side | Box = Box(shortest_edge=224)
    resample: int = 3
    do_center_crop: bool = True
    crop_size: Side | Box = Box(height=224, width=224)
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: Triple | None = None
    image_std: Triple | None = None


def is_of_transformers(data: dict[str, Any]) -> bool:
    """Whether a JSON object is a config.json of transformers."""
    return "model_type" in data or "architectures" in data


def to_open_clip(data: dict[str, Any], processor: dict[str, Any] | None, where: str) -> dict[str, Any]:
    """open_clip's configuration of a CLIPModel, in the form of its files.

    Args:
        data: transformers' config.json.
        processor: transformers' preprocessor_config.json; None for OpenAI's preprocessing.
        where: the file, for messages.

    Raises:
        UserError: it is another model, or a value cannot be followed.
    """
    kind = data.get("model_type")
    if kind != "clip":
        siglip = isinstance(kind, str) and kind.startswith("siglip")
        instead = ": name the model, BACKBONE=ViT-B-16-SigLIP:FILE" if siglip else ""
        raise UserError(f"{where} is of transformers' {shown(kind)}, and only folders of CLIPModel are read{instead}")
    # Both forms stand in many files; transformers lets the older one win.
    for name in ("text_config", "vision_config"):
        parts = [part for key in (name, f"{name}_dict") if isinstance(part := data.get(key), dict)]
        data = data | {name: {key: value for part in parts for key, value in part.items()}}
    config = check(ModelPart, data, where)
    text, vision = config.text_config, config.vision_config
    if text.eos_token_id not in (None, LEGACY_END, CLIP_END):
        raise UserError(
            f"{where}: its texts end with the token {text.eos_token_id}, those of CLIP's own tokenizer with {CLIP_END}"
        )
    activations = [activation_of(tower, where) for tower in (text, vision)]
    if activations[0][0] != activations[1][0]:
        raise UserError(
            f"{where}: its towers have different activations, text {text.hidden_act} and images {vision.hidden_act}"
        )
    converted: dict[str, Any] = {
        "embed_dim": config.projection_dim,
        "quick_gelu": activations[0][0],
        "vision_cfg": tower_of(vision, "vision_config", where)
        | {
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
        },
        "text_cfg": tower_of(text, "text_config", where)
        | {
            "heads": text.num_attention_heads,
            "vocab_size": text.vocab_size,
            "context_length": text.max_position_embeddings,
        },
    }
    if processor is not None:
        converted["preprocess_cfg"] = preprocessing_of(processor, vision.image_size, where)
    return converted


def activation_of(tower: TowerPart, where: str) -> tuple[bool, str]:
    """Whether a tower computes QuickGELU, and the approximation of its GELU.

    Raises:
        UserError: it computes something else.
    """
    if tower.hidden_act not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise UserError(f"{where}: hidden_act {shown(tower.hidden_act)} is not supported: {known} are")
    return ACTIVATIONS[tower.hidden_act]


def tower_of(tower: TextPart | VisionPart, name: str, where: str) -> dict[str, Any]:
    """What open_clip calls the same in both towers.

    Raises:
        UserError: the heads do not share the width.
    """
    width, hidden = tower.hidden_size, tower.intermediate_size
    if width % tower.num_attention_heads:
        raise UserError(
            f"{where}: {name}.hidden_size {width} is no multiple of num_attention_heads {tower.num_attention_heads}"
        )
    # open_clip rounds width x ratio down.
    ratio = hidden / width if int(width * (hidden / width)) == hidden else (hidden + 0.5) / width
    found: dict[str, Any] = {"width": width, "layers": tower.num_hidden_layers, "mlp_ratio": ratio}
    if tower.layer_norm_eps != OPEN_CLIPS_EPS:
        found["norm_kwargs"] = {"eps": tower.layer_norm_eps}
    if (approximate := activation_of(tower, where)[1]) != "none":
        found["act_kwargs"] = {"approximate": approximate}
    return found


def preprocessing_of(processor: dict[str, Any], image_size: int, where: str) -> dict[str, Any]:
    """open_clip's preprocess_cfg of a CLIPImageProcessor.

    Args:
        processor: transformers' preprocessor_config.json.
        image_size: side of the images that the image tower takes.
        where: the configuration of the model, for messages.

    Raises:
        UserError: it is another processor, or does what open_clip's preprocessing cannot do.
    """
    where = f"the image processor beside {where}"
    part = check(ProcessorPart, {key: value for key, value in processor.items() if value is not None}, where)
    kind = part.image_processor_type or part.feature_extractor_type or "CLIPImageProcessor"
    if not kind.startswith("CLIP"):
        raise UserError(f"{where} is a {shown(kind)}: of transformers' only CLIPImageProcessor is supported")
    for name in ("do_resize", "do_rescale"):
        if not getattr(part, name):
            raise UserError(f"{where} says {name} false: images must be resized to {image_size} and scaled to 0..1")
    if abs(part.rescale_factor - 1 / 255) > 1e-9:
        raise UserError(f"{where} says rescale_factor {part.rescale_factor}: images must be scaled by 1/255 to 0..1")
    if part.resample not in INTERPOLATIONS:
        raise UserError(f"{where} says resample {part.resample}: 2 (bilinear) and 3 (bicubic) are supported")
    size, crop = side_of(part.size, "shortest_edge"), side_of(part.crop_size, "height")
    squash = isinstance(part.size, Box) and part.size.shortest_edge is None
    if size != image_size or (part.do_center_crop and crop != image_size) or not (part.do_center_crop or squash):
        cut = f"crops {crop}" if part.do_center_crop else "crops nothing"
        raise UserError(
            f"{where} resizes to {size} pixels and {cut}, and the image tower takes {image_size}: one size is supported"
        )
    found: dict[str, Any] = {
        "interpolation": INTERPOLATIONS[part.resample],
        "resize_mode": "squash" if squash else "shortest",
    }
    if not part.do_normalize:
        return found | {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    given = {"mean": part.image_mean, "std": part.image_std}
    return found | {key: value for key, value in given.items() if value is not None}


def side_of(size: int | Box, edge: str) -> int | None:
    """Side of a square in pixels; None if it is none.

    Args:
        size: as the processor names it.
        edge: what a size with one number means.
    """
    if isinstance(size, int):
        return size
    if edge == "shortest_edge" and size.shortest_edge:
        return size.shortest_edge
    return size.height if size.height == size.width else None
