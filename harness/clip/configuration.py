"""open_clip's configuration of a model, read from a file and checked before anything is built from it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.clip.preprocessing import (
    OPENAI_MEAN,
    OPENAI_STD,
    Channels,
    Interpolation,
    Preprocessing,
    ResizeMode,
)
from harness.clip.strict_json import Part, check, read_json
from harness.clip.timm_trunks import PooledTrunk, pooled_trunk
from harness.clip.tower_parts import ALL_PARTS, OF_RESNET, OF_SIGLIP, OF_TEXT, TowerPart
from harness.clip.transformers_configuration import PREPROCESSING, PROCESSOR, is_of_transformers, to_open_clip
from harness.errors import UserError

SUPPORTED = "Supported are CLIPs of a ViT with class token or of a ResNet and a causal text tower, and SigLIP"
EXPECTED = "an object with embed_dim, vision_cfg and text_cfg"

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Layers = Annotated[int, Field(ge=1, le=1000)]
Pixels = Annotated[int, Field(ge=1, le=8192)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(ge=0, lt=1)]
Square = Pixels | tuple[Pixels, Pixels]


class NormOptions(Part):
    """Options of a tower's LayerNorms."""

    eps: Positive = 1e-5


class ActivationOptions(Part):
    """Options of a tower's GELU."""

    approximate: Literal["none", "tanh"] = "none"


class TokenizerOptions(Part):
    """Options of the tokenizer. The names of other tokenizers' options are known, so that these can be refused."""

    bpe_path: str | None = None
    clean: Literal["lower", "whitespace", "canonicalize"] | None = None
    strip_sep_token: bool = False


class TowerConfiguration(Part):
    """What both towers can be configured with; fields as in open_clip."""

    width: Count = 1
    mlp_ratio: Positive = 4.0
    ls_init_value: float | None = None
    final_ln_after_pool: bool = False
    pool_type: str = ""
    output_tokens: bool = False
    act_kwargs: ActivationOptions | None = None
    norm_kwargs: NormOptions | None = None
    block_type: str | None = None
    qk_norm: bool = False
    scaled_cosine_attn: bool = False
    scale_heads: bool = False
    scale_attn_inner: bool = False
    scale_attn: bool = False
    scale_fc: bool = False

    @property
    def has_custom_blocks(self) -> bool:
        """Whether its blocks are others than CLIP's."""
        changes = (self.qk_norm, self.scaled_cosine_attn, self.scale_heads, self.scale_attn_inner)
        return any((*changes, self.scale_attn, self.scale_fc, self.block_type not in (None, "default")))


class VisionConfiguration(TowerConfiguration):
    """The image tower; fields and defaults as in open_clip."""

    layers: Layers | tuple[Layers, Layers, Layers, Layers] = 12
    width: Count = 768
    head_width: Count = 64
    patch_size: Pixels | None = 16
    image_size: Square = 224
    pool_type: str = "tok"
    patch_dropout: Share = 0.0
    attentional_pool: bool | str = False
    attn_pooler_queries: Count = 256
    attn_pooler_heads: Count = 8
    no_ln_pre: bool = False
    pos_embed_type: Literal["learnable", "sin_cos_2d"] = "learnable"
    timm_model_name: str | None = None
    timm_model_pretrained: bool = False
    timm_pool: str = "avg"
    timm_proj: str | None = "linear"
    timm_proj_bias: bool = False
    timm_drop: Share = 0.0
    timm_drop_path: Share | None = None

    @property
    def is_resnet(self) -> bool:
        """Whether it is a ResNet of four layers, and not a ViT."""
        return not isinstance(self.layers, int)

    @property
    def pooled_trunk(self) -> PooledTrunk | None:
        """The image tower of timm, if it is one that can be used here: its tokens are pooled by attention."""
        trunk = pooled_trunk(self.timm_model_name or "")
        usual = self.timm_pool == "map" and self.timm_proj in ("none", "") and not self.timm_drop_path
        return trunk if trunk and usual and trunk.image_size == self.side else None

    @property
    def blocks(self) -> int:
        """Number of its blocks: of attention in a ViT, bottlenecks in a ResNet."""
        if trunk := self.pooled_trunk:
            return trunk.blocks
        return self.layers if isinstance(self.layers, int) else sum(self.layers)

    @property
    def side(self) -> int | None:
        """Side of its images in pixels; None if they are not square."""
        sides = (self.image_size,) if isinstance(self.image_size, int) else self.image_size
        return sides[0] if len(set(sides)) == 1 else None

    @model_validator(mode="after")
    def _fits(self) -> "VisionConfiguration":
        if self.timm_model_name is None and self.is_resnet:
            if (32 * self.width) % self.head_width or self.width % 2:
                raise ValueError(
                    f"a ResNet needs an even width, and 32 x width {self.width} as a multiple of head_width "
                    f"{self.head_width}"
                )
            if self.side and self.side % 32:
                raise ValueError(f"a ResNet needs an image_size that is a multiple of 32, not {self.side}")
        elif self.timm_model_name is None:
            if self.width % self.head_width:
                raise ValueError(f"width {self.width} is no multiple of head_width {self.head_width}")
            if self.patch_size is None:
                raise ValueError("a ViT needs a patch_size")
            if self.side and self.patch_size > self.side:
                raise ValueError(f"patch_size {self.patch_size} is larger than image_size {self.side}")
        return self


class TextConfiguration(TowerConfiguration):
    """The text tower; fields and defaults as in open_clip."""

    context_length: Annotated[int, Field(ge=3, le=10_000)] = 77
    vocab_size: Annotated[int, Field(ge=1, le=10_000_000)] = 49408
    width: Count = 512
    heads: Count = 8
    layers: Layers = 12
    pool_type: str = "argmax"
    hf_tokenizer_name: str | None = None
    tokenizer_mode: str | None = None
    tokenizer_kwargs: TokenizerOptions | None = None
    embed_cls: bool = False
    pad_id: int = 0
    eos_id: int = 2
    no_causal_mask: bool = False
    proj_bias: bool = False
    proj_type: str | None = "linear"
    hf_model_name: str | None = None
    hf_model_pretrained: bool = True
    hf_proj_type: str | None = "mlp"
    hf_pooler_type: str = "mean_pooler"

    @model_validator(mode="after")
    def _fits(self) -> "TextConfiguration":
        if self.hf_model_name is None and self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self


class PreprocessConfiguration(Part):
    """open_clip's preprocessing; fields and defaults as there, a null is the default."""

    size: Square | None = None
    mode: Literal["RGB"] = "RGB"
    mean: Channels = OPENAI_MEAN
    std: tuple[Positive, Positive, Positive] = OPENAI_STD
    interpolation: Literal["bicubic", "bilinear", "random"] = "bicubic"
    resize_mode: ResizeMode = "shortest"
    fill_color: Annotated[int, Field(ge=0, le=255)] = 0

    def for_images_of(self, size: int, name: str) -> Preprocessing:
        """The preprocessing for an image tower.

        Args:
            size: side of the images that the tower takes.
            name: of the backbone, for the message.

        Raises:
            UserError: its own size is another.
        """
        if self.size not in (None, size, (size, size)):
            raise UserError(
                f"backbone '{name}' takes images of {size} pixels, but its preprocess_cfg.size is {self.size}: "
                "one of the two is wrong in its configuration"
            )
        # open_clip draws one in training with timm's augmentation alone, and otherwise takes bicubic.
        interpolation: Interpolation = "bicubic" if self.interpolation == "random" else self.interpolation
        return Preprocessing(size, self.mean, self.std, interpolation, self.resize_mode, self.fill_color)


class ModelConfiguration(Part):
    """open_clip's configuration of a model, with the preprocessing that may stand in it."""

    embed_dim: Count
    vision_cfg: VisionConfiguration
    text_cfg: TextConfiguration
    quick_gelu: bool = False
    custom_text: bool = False
    init_logit_scale: float | None = None
    init_logit_bias: float | None = None
    multimodal_cfg: dict[str, Any] | None = None
    preprocess_cfg: PreprocessConfiguration = PreprocessConfiguration()

    @property
    def blocks(self) -> int:
        """Number of blocks that both towers have: the last stage from which both can start."""
        return min(self.vision_cfg.blocks, self.text_cfg.layers)

    @property
    def is_siglip(self) -> bool:
        """Whether it is a SigLIP: an image tower that pools by attention, and a bidirectional text tower."""
        text = self.text_cfg
        return (
            self.custom_text
            and self.vision_cfg.pooled_trunk is not None
            and text.hf_model_name is None
            and text.no_causal_mask
            and text.pool_type == "last"
            and text.tokenizer_mode is None
            and (text.proj_type == "none" or (text.proj_type == "linear" and text.proj_bias))
        )

    @property
    def parts(self) -> frozenset[TowerPart]:
        """What its towers have of the parts that not every backbone has."""
        if self.is_siglip:
            return OF_SIGLIP
        return OF_RESNET | OF_TEXT if self.vision_cfg.is_resnet else ALL_PARTS

    @property
    def unsupported(self) -> str | None:
        """What is unusual about the model, so that its stages would not give open_clip's outputs; None if nothing."""
        vision, text, siglip = self.vision_cfg, self.text_cfg, self.is_siglip
        # Each entry: what is unusual, and whether this model has it.
        unusual = {
            "it is a CoCa, with a decoder of captions": self.multimodal_cfg is not None,
            "its logits have a bias, as SigLIP's do": self.init_logit_bias is not None and not siglip,
            f"its text tower is '{text.hf_model_name}' of transformers": bool(text.hf_model_name),
            f"its image tower is timm's '{vision.timm_model_name}'": bool(vision.timm_model_name) and not siglip,
            f"its tokenizer is '{text.hf_tokenizer_name}' of transformers": bool(text.hf_tokenizer_name) and not siglip,
            "its text tower is a module of its own (custom_text)": self.custom_text and not siglip,
            "its image tower pools by attention": bool(vision.attentional_pool),
            f"its image tower pools by '{vision.pool_type}', not by the class token": vision.pool_type != "tok",
            "it normalises after pooling": vision.final_ln_after_pool or text.final_ln_after_pool,
            "its image tower drops patches (patch_dropout)": vision.patch_dropout > 0,
            "its images are not square": vision.side is None,
            f"its text tower reads '{text.pool_type}', not the end of text": text.pool_type != "argmax" and not siglip,
            "its text tower has a class token": text.embed_cls,
            "its text tower is not causal": text.no_causal_mask and not siglip,
            "its text projection is no plain matrix": (text.proj_bias or text.proj_type != "linear") and not siglip,
            "its towers return all tokens": vision.output_tokens or text.output_tokens,
            "its blocks are not CLIP's": vision.has_custom_blocks or text.has_custom_blocks,
            "its activation is both QuickGELU and a GELU with options": self.quick_gelu
            and bool(vision.act_kwargs or text.act_kwargs),
        }
        return next((what for what, present in unusual.items() if present), None)


class Snapshot(Part):
    """open_clip_config.json of a hub: a model and its preprocessing."""

    model_cfg: ModelConfiguration
    preprocess_cfg: PreprocessConfiguration = PreprocessConfiguration()


def supported_configuration(path: Path) -> ModelConfiguration:
    """Read the configuration of a local model.

    Raises:
        UserError: as `read_configuration`, or it is of a model that is not supported.
    """
    config = read_configuration(path)
    if config.unsupported:
        raise UserError(
            f"the model of configuration '{path}' is not supported: {config.unsupported}. {SUPPORTED}, such as ViT-B-16"
        )
    return config


def read_configuration(path: Path) -> ModelConfiguration:
    """Read the configuration beside a checkpoint, the open_clip_config.json of a hub, or transformers' config.json.

    Raises:
        UserError: it is none of these; one line names the file and the key.
    """
    where = f"configuration '{path}'"
    data = read_json(path, where, EXPECTED)
    if is_of_transformers(data):
        return check(ModelConfiguration, to_open_clip(data, read_processor(path.parent), where), where)
    if isinstance(preprocess := data.get("preprocess_cfg"), dict):
        data["preprocess_cfg"] = {key: value for key, value in preprocess.items() if value is not None}
    if "model_cfg" not in data:
        return check(ModelConfiguration, data, where)
    snapshot = check(Snapshot, data, where)
    update = {"preprocess_cfg": snapshot.preprocess_cfg} if "preprocess_cfg" in data else {}
    return snapshot.model_cfg.model_copy(update=update)


def read_processor(folder: Path) -> dict[str, Any] | None:
    """transformers' image processor in a folder; None if there is none."""
    for name in (PREPROCESSING, PROCESSOR):
        path = folder / name
        if not path.is_file():
            continue
        data = read_json(path, f"image processor '{path}'", "an image processor of transformers")
        found = data if name == PREPROCESSING else data.get("image_processor")
        if isinstance(found, dict):
            return found
    return None
