"""A made-up backbone, images and classes of other sizes than those of the project's reference vectors."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from torch import Tensor

CLASSES, SHOTS, BATCH, EVAL = 5, 3, 5, 9
NEW = 4
SCALE = 50.0
NOISE = {"cache": 1e-5, "const": 1e-5, "train_logits": 1e-4, "train_losses": 1e-5, "grad": 1e-5, "eval": 1e-4}
NOISE |= {"after1": 2e-6, "after": 5e-6, "best": 5e-6, "search_logits": 1e-4, "eval_logits_base": 1e-4, "init": 1e-5}
NAMES = ("red fox", "grey owl", "steam train", "violin", "apple pie", "lamp", "desert", "old castle", "green tea")
OFFICIAL = {
    "tip_adapter": ("TipAdapter", SCALE),
    "tip_adapter_f": ("TipAdapterF", SCALE),
    "taskres": ("TaskRes", None),
    "zs_lp": ("ADAPTER", None),
    "clap": ("ADAPTER", None),
    "lp_plus_plus": ("LinearProbe_P2", None),
    "linear_probe": ("LinearProbe", None),
    "gda": ("GDA", SCALE),
    "gda_base2new": ("GDABaseToNew", SCALE),
    "prolip": ("ProLIP", SCALE),
}
Made = tuple[dict[str, Any], dict[str, Any], list[str], dict[str, Tensor]]
"""Official options, settings of the optimizer, names of what trains, tensors."""


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


class World:
    """A backbone, images and classes, and what the towers make of them."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        vision = CLIPVisionCfg(layers=3, width=128, patch_size=8, image_size=24)
        text = CLIPTextCfg(context_length=24, width=64, heads=1, layers=2)
        self.clip = CLIP(48, vision, text, quick_gelu=True).eval().requires_grad_(False)
        self.clip.logit_scale.fill_(math.log(12.0))
        self.clip.token_embedding.weight.mul_(20)
        self.clip.visual.class_embedding.mul_(0.1)
        shots = CLASSES * SHOTS
        # Images of a class have something in common.
        self.labels = torch.arange(CLASSES).repeat(SHOTS)[torch.randperm(shots)]
        self.eval_labels = torch.arange(EVAL) % CLASSES
        common = 2 * torch.randn(CLASSES, 3, 24, 24)
        self.images = common[self.labels] + torch.randn(shots, 3, 24, 24)
        self.eval_images = common[self.eval_labels] + 1.5 * torch.randn(EVAL, 3, 24, 24)
        self.prompts = [f"a drawing of a {name}." for name in NAMES[:CLASSES]]
        self.prompts_new = [f"a drawing of a {name}." for name in NAMES[CLASSES : CLASSES + NEW]]
        tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=24)
        self.ids, self.ids_new = tokenizer(self.prompts), tokenizer(self.prompts_new)
        self.text, self.text_new = self.clip.encode_text(self.ids), self.clip.encode_text(self.ids_new)
        self.tested = self.clip.encode_image(self.eval_images)

    def views(self, count: int) -> Tensor:
        return torch.stack([self.clip.encode_image(self.view(a)) for a in range(count)])

    def view(self, a: int) -> Tensor:
        turned = torch.rot90(self.images, a % 4, (2, 3))
        return turned.flip(3) if a >= 4 else turned

    def accuracy(self, logits: Tensor) -> float:
        return 100.0 * (logits.argmax(dim=1) == self.eval_labels).double().mean().item()

    def write(self, folder: Path, name: str, made: Made) -> None:
        options, optimizer, trained, tensors = made
        trainer, scale = OFFICIAL[name]
        state = {key: value.contiguous() for key, value in self.clip.state_dict().items() if key != "attn_mask"}
        table = state.pop("token_embedding.weight")
        rows = torch.cat([self.ids, self.ids_new]).unique()
        state |= {"token_embedding.rows": rows, "token_embedding.values": table[rows]}
        save_file(state, folder / "backbone.safetensors")
        batched = self.images.view(-1, BATCH, *self.images.shape[1:]).contiguous()
        inputs = {"train_images": batched, "eval_images": self.eval_images}
        save_file(inputs | {"train_labels": self.labels.view(-1, BATCH)}, folder / "inputs.safetensors")
        tensors = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
        save_file(tensors | {"tokens.base": self.ids, "eval_labels": self.eval_labels}, folder / f"{name}.safetensors")
        about = {
            "official_trainer": trainer,
            "activation": "QuickGELU",
            "files": {"backbone": "backbone.safetensors", "inputs": "inputs.safetensors"}
            | {"tensors": f"{name}.safetensors"},
            "hyper": {"logit_scale": scale, "method_options": options, "optimizer": optimizer},
            "prompts_base": self.prompts,
            "prompts_new": self.prompts_new,
            "trainable": [{"name": given, "has_gradient": True} for given in trained],
            "kernel_noise_max_abs": NOISE,
            "kernel_noise_q99": {"after1": 1e-6, "after": 5e-6},
        }
        (folder / f"{name}.json").write_text(json.dumps(about))


def train(
    weights: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    batches: list[tuple[Tensor, Tensor]],
    logits_of: Callable[[Tensor], Tensor],
    penalty: Callable[[], Tensor] = lambda: torch.zeros(()),
    scheduler: Any = None,
    after_step: Callable[[int], None] = lambda step: None,
) -> dict[str, Tensor]:
    """Take a step on each batch; returns what the vectors hold of it."""
    found = {f"init.{name}": value.detach().clone() for name, value in weights.items()}
    losses, rates = [], []
    for step, (x, labels) in enumerate(batches):
        logits = logits_of(x)
        loss = F.cross_entropy(logits, labels) + penalty()
        optimizer.zero_grad()
        loss.backward()
        rates.append(optimizer.param_groups[0]["lr"])
        if step == 0:
            found |= {f"grad.{name}": value.grad.clone() for name, value in weights.items()}
        optimizer.step()
        if scheduler:
            scheduler.step()
        after_step(step)
        losses.append(loss.detach())
        found[f"train_logits_b{step}"] = logits.detach()
        if step == 0:
            found |= {f"after1.{name}": value.detach().clone() for name, value in weights.items()}
    found |= {f"after.{name}": value.detach().clone() for name, value in weights.items()}
    found["train_losses"] = torch.stack(losses)
    if scheduler:
        found["train_lrs"] = torch.tensor(rates, dtype=torch.float64)
    return found
