"""Our classes for the parameters of a CLIP are open_clip's, bit for bit; and open_clip's modules can be read alone."""

import subprocess
import sys
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import LayerNormFp32 as OpenClipLayerNormFp32

from harness.clip import open_clip_files
from harness.clip.blocks import is_divisible
from harness.clip.configuration import ModelConfiguration
from harness.clip.load import build
from harness.clip.network import LayerNormFp32, Network, is_plain

SMALL: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 16},
    "text_cfg": {"context_length": 9, "vocab_size": 50, "width": 48, "heads": 3, "layers": 3},
}
IMAGE: dict[str, Any] = {
    "mlp_ratio": 2.0,
    "ls_init_value": 0.5,
    "no_ln_pre": True,
    "norm_kwargs": {"eps": 0.1},
    "act_kwargs": {"approximate": "tanh"},
}
TEXT: dict[str, Any] = {"mlp_ratio": 3.0, "ls_init_value": 0.1, "norm_kwargs": {"eps": 0.2}}
CONFIGURATIONS = {
    "usual": SMALL,
    "quick": SMALL | {"quick_gelu": True},
    "unusual": SMALL | {"vision_cfg": SMALL["vision_cfg"] | IMAGE, "text_cfg": SMALL["text_cfg"] | TEXT},
}


def both(settings: dict[str, Any]) -> tuple[Network, open_clip.CLIP]:
    """Our network and open_clip's, drawn with the same seed."""
    config = ModelConfiguration.model_validate(settings)
    torch.manual_seed(3)
    ours = build(config)
    torch.manual_seed(3)
    theirs = open_clip.CLIP(**config.model_dump(exclude={"custom_text", "preprocess_cfg"}, exclude_unset=True))
    assert isinstance(ours, Network)
    return ours, theirs


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_parameters_and_their_initial_values_are_those_of_open_clip(name: str) -> None:
    ours, theirs = both(CONFIGURATIONS[name])
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in ours.state_dict().items())
    assert torch.equal(ours.attn_mask, theirs.attn_mask)
    assert (ours.visual.image_size, ours.visual.image_size) == theirs.visual.image_size


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("autocast", [False, True])
def test_blocks_compute_what_those_of_open_clip_compute(name: str, autocast: bool) -> None:
    ours, theirs = both(CONFIGURATIONS[name])
    tokens = torch.randn(2, 9, 48)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = ours.transformer(tokens, attn_mask=ours.attn_mask)
        expected = theirs.transformer(tokens, attn_mask=theirs.attn_mask)
        assert torch.equal(ours.ln_final(found), theirs.ln_final(expected))
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)
    assert all(map(is_divisible, [*ours.transformer.resblocks, *theirs.transformer.resblocks]))
    assert not is_divisible(torch.nn.TransformerEncoderLayer(8, 2))


def test_norms_of_half_precision_are_open_clips() -> None:
    x = 100 * torch.randn(4, 16).half()
    assert torch.equal(LayerNormFp32(16)(x), OpenClipLayerNormFp32(16)(x))
    assert LayerNormFp32(16)(x).dtype == torch.float16


@pytest.mark.parametrize(
    "changes",
    [
        {"vision_cfg": {"layers": (1, 1, 1, 1), "width": 16, "image_size": 32}},
        {"vision_cfg": SMALL["vision_cfg"] | {"pos_embed_type": "sin_cos_2d"}},
        {"vision_cfg": SMALL["vision_cfg"] | {"pool_type": "avg"}},
        {"text_cfg": SMALL["text_cfg"] | {"embed_cls": True}},
    ],
)
def test_what_has_other_parts_is_built_by_open_clip(changes: dict[str, Any]) -> None:
    config = ModelConfiguration.model_validate(SMALL | changes)
    assert not is_plain(config)
    with torch.device("meta"):
        assert not isinstance(build(config), Network)


def test_a_module_is_read_alone_or_with_its_package_if_it_needs_that() -> None:
    code = (
        "import sys; from harness.clip.open_clip_files import open_clip_module, simple_tokenizer\n"
        "import torch; ids = simple_tokenizer()()(['a cat'])[0, :4].tolist()\n"
        "assert 'open_clip' not in sys.modules and 'torchvision' not in sys.modules\n"
        "names = len(open_clip_module('zero_shot_metadata').IMAGENET_CLASSNAMES)\n"
        "print(ids, names, open_clip_module('pretrained').__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    # `pretrained` imports other modules of its package.
    assert done.stdout == "[49406, 320, 2368, 49407] 1000 open_clip.pretrained\n", done.stderr
    open_clip_files.open_clip_module.cache_clear()
    assert open_clip_files.simple_tokenizer() is open_clip.tokenizer.SimpleTokenizer, "it is imported here already"
