"""From the names of transformers' CLIPModel to those of open_clip: the same tensors, some of them put together."""

import re

import torch

from harness.clip.checkpoints import State
from harness.clip.transformers_siglip import PROBE, siglip_to_open_clip

# transformers' name, as a pattern -> open_clip's.
RENAMED = {
    r"logit_scale": "logit_scale",
    r"vision_model\.embeddings\.class_embedding": "visual.class_embedding",
    r"vision_model\.embeddings\.patch_embedding\.weight": "visual.conv1.weight",
    r"vision_model\.embeddings\.position_embedding\.weight": "visual.positional_embedding",
    r"vision_model\.pre_layrnorm\.(weight|bias)": r"visual.ln_pre.\1",
    r"vision_model\.post_layernorm\.(weight|bias)": r"visual.ln_post.\1",
    r"text_model\.embeddings\.token_embedding\.weight": "token_embedding.weight",
    r"text_model\.embeddings\.position_embedding\.weight": "positional_embedding",
    r"text_model\.final_layer_norm\.(weight|bias)": r"ln_final.\1",
}
RENAMED_IN_BLOCKS = {
    r"layer_norm([12])\.(weight|bias)": r"ln_\1.\2",
    r"mlp\.fc1\.(weight|bias)": r"mlp.c_fc.\1",
    r"mlp\.fc2\.(weight|bias)": r"mlp.c_proj.\1",
    r"self_attn\.out_proj\.(weight|bias)": r"attn.out_proj.\1",
}
TRANSPOSED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
BLOCK = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)")
QUERY = re.compile(r"self_attn\.q_proj\.(weight|bias)")


def is_of_transformers(state: State) -> bool:
    """Whether tensors have the names of transformers' CLIPModel or SiglipModel."""
    return any(name.startswith("vision_model.embeddings.") for name in state)


def to_open_clip(state: State) -> State:
    """The tensors under open_clip's names; what is unknown keeps its name, so that loading reports it."""
    if PROBE in state:
        return siglip_to_open_clip(state)
    converted: State = {}
    for name, tensor in state.items():
        if name.endswith(".embeddings.position_ids") or re.search(r"self_attn\.[kv]_proj\.", name):
            continue  # counting numbers; what belongs to the query below
        if name in TRANSPOSED:
            converted[TRANSPOSED[name]] = tensor.t() if tensor.ndim == 2 else tensor
            continue
        block = BLOCK.fullmatch(name)
        prefix, inner, table = "", name, RENAMED
        if block:
            tower = "visual." if block[1] == "vision" else ""
            prefix, inner, table = f"{tower}transformer.resblocks.{block[2]}.", block[3], RENAMED_IN_BLOCKS
        if block and (query := QUERY.fullmatch(inner)):
            parts = [state.get(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
            present = [part for part in parts if part is not None and part.shape == tensor.shape]
            converted[f"{prefix}attn.in_proj_{query[1]}"] = torch.cat(present)
            continue
        pattern = next((pattern for pattern in table if re.fullmatch(pattern, inner)), None)
        converted[prefix + re.sub(pattern, table[pattern], inner) if pattern else name] = tensor
    return converted
