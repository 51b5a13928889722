"""A CLIP under the names of transformers' CLIPModel, for tests of their conversion."""

import torch
from torch import Tensor

State = dict[str, Tensor]


def to_transformers(state: State) -> State:
    """A state dict of open_clip under the names of transformers' CLIPModel, written from their documentation."""
    blocks = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    blocks["attn.out_proj"] = "self_attn.out_proj"
    names = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "token_embedding": "text_model.embeddings.token_embedding",
        "ln_final": "text_model.final_layer_norm",
    }
    found = {
        "visual_projection.weight": state["visual.proj"].t().contiguous(),
        "text_projection.weight": state["text_projection"].t().contiguous(),
        "logit_scale": state["logit_scale"],
        "text_model.embeddings.position_ids": torch.arange(3),
    }
    for name, tensor in state.items():
        tower = "vision" if name.startswith("visual.") else "text"
        if ".resblocks." in name:
            number, _, rest = name.split(".resblocks.")[1].partition(".")
            prefix = f"{tower}_model.encoder.layers.{number}."
            if "in_proj" in rest:
                for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                    found[f"{prefix}self_attn.{part}_proj.{rest.split('_')[-1]}"] = piece.contiguous()
            else:
                inner, _, kind = rest.rpartition(".")
                found[f"{prefix}{blocks[inner]}.{kind}"] = tensor
        elif name in names:
            found[names[name]] = tensor
        elif name.rpartition(".")[0] in names:
            found[f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"] = tensor
    return found
