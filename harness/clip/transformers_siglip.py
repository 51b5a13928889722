"""From the names of transformers' SiglipModel to those of open_clip: the same tensors, some put together or divided."""

import re

import torch

from harness.clip.checkpoints import State

PROBE = "vision_model.head.probe"
# transformers' name, as a pattern -> open_clip's.
RENAMED = {
    r"vision_model\.embeddings\.patch_embedding\.(weight|bias)": r"visual.trunk.patch_embed.proj.\1",
    r"vision_model\.post_layernorm\.(weight|bias)": r"visual.trunk.norm.\1",
    r"vision_model\.head\.probe": "visual.trunk.attn_pool.latent",
    r"vision_model\.head\.attention\.out_proj\.(weight|bias)": r"visual.trunk.attn_pool.proj.\1",
    r"vision_model\.head\.layernorm\.(weight|bias)": r"visual.trunk.attn_pool.norm.\1",
    r"vision_model\.head\.mlp\.fc([12])\.(weight|bias)": r"visual.trunk.attn_pool.mlp.fc\1.\2",
    r"vision_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.(weight|bias)": r"visual.trunk.blocks.\1.norm\2.\3",
    r"vision_model\.encoder\.layers\.(\d+)\.mlp\.fc([12])\.(weight|bias)": r"visual.trunk.blocks.\1.mlp.fc\2.\3",
    r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)": r"visual.trunk.blocks.\1.attn.proj.\2",
    r"text_model\.embeddings\.token_embedding\.weight": "text.token_embedding.weight",
    r"text_model\.embeddings\.position_embedding\.weight": "text.positional_embedding",
    r"text_model\.final_layer_norm\.(weight|bias)": r"text.ln_final.\1",
    r"text_model\.head\.(weight|bias)": r"text.text_projection.\1",
    r"text_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.(weight|bias)": r"text.transformer.resblocks.\1.ln_\2.\3",
    r"text_model\.encoder\.layers\.(\d+)\.mlp\.fc1\.(weight|bias)": r"text.transformer.resblocks.\1.mlp.c_fc.\2",
    r"text_model\.encoder\.layers\.(\d+)\.mlp\.fc2\.(weight|bias)": r"text.transformer.resblocks.\1.mlp.c_proj.\2",
    r"text_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)": (
        r"text.transformer.resblocks.\1.attn.out_proj.\2"
    ),
}
QUERY = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)")
POOLING = re.compile(r"vision_model\.head\.attention\.in_proj_(weight|bias)")
POSITIONS = "vision_model.embeddings.position_embedding.weight"


def siglip_to_open_clip(state: State) -> State:
    """The tensors under open_clip's names; what is unknown keeps its name, so that loading reports it."""
    converted: State = {}
    for name, tensor in state.items():
        if name.endswith(".embeddings.position_ids") or re.search(r"\.self_attn\.[kv]_proj\.", name):
            continue  # counting numbers; what belongs to the query below
        if query := QUERY.fullmatch(name):
            parts = [state.get(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
            present = [part for part in parts if part is not None and part.shape == tensor.shape]
            tower, block, kind = query.groups()
            inner = f"visual.trunk.blocks.{block}.attn.qkv.{kind}"
            if tower == "text":
                inner = f"text.transformer.resblocks.{block}.attn.in_proj_{kind}"
            converted[inner] = torch.cat(present)
        elif (pooling := POOLING.fullmatch(name)) and len(tensor) % 3 == 0:
            width = len(tensor) // 3
            converted[f"visual.trunk.attn_pool.q.{pooling[1]}"] = tensor[:width]
            converted[f"visual.trunk.attn_pool.kv.{pooling[1]}"] = tensor[width:]
        elif name in ("logit_scale", "logit_bias") and tensor.numel() == 1:
            converted[name] = tensor.reshape(())
        elif name == POSITIONS:
            converted["visual.trunk.pos_embed"] = tensor[None]
        else:
            pattern = next((pattern for pattern in RENAMED if re.fullmatch(pattern, name)), None)
            converted[re.sub(pattern, RENAMED[pattern], name) if pattern else name] = tensor
    return converted
