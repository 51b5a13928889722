"""Skip Tuning (Wu et al., 2024, arXiv:2412.11509): fine-tune only the later blocks, on the classes that matter.

LSkip starts both towers from cached tokens after the first `depth` blocks. CSkip trains each batch on its own classes,
on the classes nearest to it, and on a few of the others. Testing uses the plain model and all classes.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from harness.clip.packing import true_places
from harness.clip.towers import Stage
from methods.base import Method, Official, check_depth

OWN_CLASS = 1e4  # above every cosine similarity, so that the classes of the batch rank first


class SkipTuning(Method):
    """Layer-wise skipping (LSkip) and class-wise skipping (CSkip)."""

    templates = "finetune"
    official = Official(
        trainers=("SkipTuning",),
        options={
            "START_LAYER": "depth",
            "TOP_RATIO": "class_ratio",
            "MAX_TOP": "max_classes",
            "LAMBDA": "lambda",
        },
        tensors={"select.reserve_mask": "rank_mask", "cache.class_prototypes": "prototypes"},
    )

    class Config(Method.Config):
        depth: int = Field(6, ge=0, description="number of first blocks of both towers that are skipped (omega)")
        class_ratio: float = Field(
            0.5, gt=0, description="share of the classes that every batch trains on; 1: all, above 1: their number"
        )
        max_classes: int = Field(50, ge=1, description="largest number of classes that class_ratio keeps")
        lambda_: float = Field(
            0.3, gt=0, alias="lambda", description="decay of the chance to keep a class ranked after class_ratio"
        )

    config: Config
    prototypes: Tensor
    rank_mask: Tensor
    rescued_labels: Tensor

    @classmethod
    def check(cls, config: Config, num_blocks: int) -> None:
        check_depth(config.depth, num_blocks)

    def start_stages(self) -> tuple[Stage, Stage]:
        return self.config.depth, self.config.depth

    @torch.no_grad()
    def build(self) -> None:
        self.train_towers_from(self.config.depth)
        keep = keep_probabilities(len(self.prompts), self.config)
        self.register_buffer("rank_mask", (torch.rand(len(self.prompts)) < keep).to(self.clip.device))
        self.register_buffer("prototypes", F.normalize(self.text_features(), dim=-1))
        self.register_buffer("rescued_labels", torch.zeros((), dtype=torch.int64, device=self.clip.device))
        self.loaded()

    def loaded(self) -> None:
        """Take note of the ranks that are kept: their number is the same in all steps, so that none has to count."""
        self.is_kept: list[bool] = self.rank_mask.tolist()
        self.kept_ranks = self.rank_mask.nonzero().squeeze(1)

    @torch.no_grad()
    def select_classes(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Indices (C',), ascending, of the classes of a batch (B, E), (B,), and which of them take part; None: all.

        In a batch larger than the number of ranks that are always kept, the reference code can lose a label, and then
        trains on a wrong class. So all ranks that labels might have are here, and those that labels have take part.
        """
        # Diverged weights must give a loss of NaN, not a ranking in which NaN comes before the batch's own classes.
        cosine = (F.normalize(image, dim=-1) @ self.prototypes.T).nan_to_num()
        closest, by_rank = cosine.scatter(1, labels[:, None], OWN_CLASS).amax(dim=0).sort(descending=True)
        kept, dropped = len(self.kept_ranks), self.is_kept[: len(labels)].count(False)
        if not dropped:
            return by_rank[self.kept_ranks].sort().values, None
        takes_part = self.rank_mask | (closest == OWN_CLASS)
        self.rescued_labels += takes_part.sum() - kept
        might = self.rank_mask | (torch.arange(len(by_rank), device=labels.device) < len(labels))
        ranks = true_places(might, kept + dropped)
        classes, order = by_rank[ranks].sort()
        return classes, takes_part[ranks][order]

    def training_logits(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        image = self.image_features(x)
        classes, takes_part = self.select_classes(image, labels)
        logits = self.similarity_logits(image, self.text_features(classes))
        logits = logits if takes_part is None else logits.masked_fill(~takes_part, float("-inf"))
        return logits, torch.searchsorted(classes, labels)

    def facts(self) -> dict[str, int | float]:
        return {"kept_classes": int(self.rank_mask.sum()), "rescued_labels": int(self.rescued_labels)}


def num_top(num_classes: int, config: SkipTuning.Config) -> int:
    """K, the number of highest-ranked classes that are always kept."""
    if config.class_ratio == 1:
        return num_classes
    count = config.class_ratio * num_classes if config.class_ratio < 1 else min(config.class_ratio, num_classes)
    return min(math.ceil(count), config.max_classes)


def keep_probabilities(num_classes: int, config: SkipTuning.Config) -> Tensor:
    """Probability (C,) to keep each rank: 1 for the top K, then exp(-x / lambda) over x = 0..5, min-max scaled.

    A tail of a single rank is scaled to NaN. No random number is below NaN, so it is dropped, as in the reference code.
    """
    top = num_top(num_classes, config)
    tail = torch.exp(-torch.linspace(0, 5, num_classes - top) / config.lambda_)
    if len(tail):
        tail = (tail - tail.min()) / (tail.max() - tail.min())
    return torch.cat([torch.ones(top), tail])
