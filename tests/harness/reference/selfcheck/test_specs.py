"""Which methods the self-check looks at, and the runs that it makes of them."""

from pathlib import Path

import pytest
import torch

from harness.experiment.registry import method_class, method_names
from harness.reference.selfcheck.findings import Asked
from harness.reference.selfcheck.specs import methods_of, small_spec


def asked_for(*methods: str, quick: bool = False) -> Asked:
    return Asked(torch.device("cpu"), methods, quick, Path())


def test_what_is_asked_for_comes_first() -> None:
    assert methods_of(asked_for("coop"), "times") == methods_of(asked_for("coop", quick=True)) == ("coop",)
    assert methods_of(asked_for()) == tuple(method_names())
    assert 1 < len(methods_of(asked_for(quick=True), "repeat")) < 5
    # What is said to be trained trains.
    assert all(method_class(name).trains for name in methods_of(asked_for(), "repeat"))


@pytest.mark.parametrize("method", method_names())
def test_every_method_has_a_small_run(method: str) -> None:
    spec = small_spec(method, asked_for())
    assert (spec.method, spec.train.batch_size, spec.runtime.device) == (method, 2, "cpu")
    assert spec.runtime.feature_store_mib == 0
