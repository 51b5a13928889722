"""Tip-Adapter-F (Zhang et al., ECCV 2022, arXiv:2207.09519): the keys of Tip-Adapter's cache train."""

from torch import nn

from methods.base import Official, Shots
from methods.tip_adapter import TipAdapter, cache_keys


class TipAdapterF(TipAdapter):
    """Tip-Adapter whose keys train with init_beta and init_alpha, before the search, without a fixed length."""

    trains = True
    official = Official(
        trainers=("TipAdapterF",),
        options=TipAdapter.official.options,
        tensors=TipAdapter.official.tensors | {"adapter.weight": "keys"},
    )

    @classmethod
    def unused(cls, config: TipAdapter.Config) -> dict[str, str]:
        return {}

    def fit(self, shots: Shots) -> None:
        self.keys = nn.Parameter(cache_keys(shots))
        self.register_buffer("key_labels", shots.labels)
