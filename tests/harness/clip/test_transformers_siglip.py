"""SigLIPs of transformers, under the name of a model or beside its configuration."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.clip.configuration import read_configuration
from harness.clip.load import load_backbone
from harness.clip.towers import CLIP
from harness.errors import UserError
from tests.small_siglip import small_network, small_siglip, write_configuration, write_tokenizer

IN_BLOCKS = {
    "image": {"norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj"},
    "text": {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj"},
}
IN_MLPS = {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
ELSEWHERE = {
    "visual.trunk.patch_embed.proj": "vision_model.embeddings.patch_embedding",
    "visual.trunk.norm": "vision_model.post_layernorm",
    "visual.trunk.attn_pool.proj": "vision_model.head.attention.out_proj",
    "visual.trunk.attn_pool.norm": "vision_model.head.layernorm",
    "visual.trunk.attn_pool.mlp.fc1": "vision_model.head.mlp.fc1",
    "visual.trunk.attn_pool.mlp.fc2": "vision_model.head.mlp.fc2",
    "text.ln_final": "text_model.final_layer_norm",
    "text.text_projection": "text_model.head",
    "text.token_embedding": "text_model.embeddings.token_embedding",
}


def of_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a small SigLIP, whose image tower has a class token, as transformers would store them."""
    found = {
        "logit_scale": state["logit_scale"][None],
        "logit_bias": state["logit_bias"][None],
        "vision_model.head.probe": state["visual.trunk.attn_pool.latent"],
        "vision_model.embeddings.position_embedding.weight": state["visual.trunk.pos_embed"][0],
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
        "text_model.embeddings.position_embedding.weight": state["text.positional_embedding"],
        "visual.trunk.cls_token": state["visual.trunk.cls_token"],
    }
    for kind in ("weight", "bias"):
        pooling = [state[f"visual.trunk.attn_pool.{part}.{kind}"] for part in ("q", "kv")]
        found[f"vision_model.head.attention.in_proj_{kind}"] = torch.cat(pooling)
        for ours, theirs in ELSEWHERE.items():
            if f"{ours}.{kind}" in state:
                found[f"{theirs}.{kind}"] = state[f"{ours}.{kind}"]
        for block in range(6):
            for tower, prefix, packed in (
                ("image", f"visual.trunk.blocks.{block}.", f"attn.qkv.{kind}"),
                ("text", f"text.transformer.resblocks.{block}.", f"attn.in_proj_{kind}"),
            ):
                place = f"{'vision' if tower == 'image' else 'text'}_model.encoder.layers.{block}."
                for part, value in zip("qkv", state[prefix + packed].chunk(3), strict=True):
                    found[f"{place}self_attn.{part}_proj.{kind}"] = value
                mlps = IN_MLPS if tower == "text" else {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
                for ours, theirs in (IN_BLOCKS[tower] | mlps).items():
                    found[f"{place}{theirs}.{kind}"] = state[f"{prefix}{ours}.{kind}"]
    return {name: value.contiguous().clone() for name, value in found.items()}


def saved(folder: Path, **changes: Tensor) -> str:
    """A snapshot whose weights have transformers' names, some of them changed."""
    network = small_network(read_configuration(write_configuration(folder)))
    state = of_transformers(network.state_dict()) | changes
    save_file(state, folder / "model.safetensors")
    write_tokenizer(folder, ["a", "cat"])
    return str(folder)


@torch.no_grad()
def test_names_of_transformers_give_the_same_siglip(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    expected, _ = small_siglip(tmp_path)
    found: CLIP = load_backbone(saved(tmp_path))
    theirs = expected.state_dict()
    assert found.state_dict().keys() == theirs.keys()
    for name, value in found.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(UserError, match=r"vision_model\.head\.attention\.in_proj_bias"):
        load_backbone(saved(tmp_path, **{"vision_model.head.attention.in_proj_bias": torch.zeros(5)}))
