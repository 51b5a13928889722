"""QuickGELU against open_clip's module."""

import torch
from open_clip.transformer import QuickGELU

from harness.clip.quick_gelu import quick_gelu


def test_values_are_those_of_the_module_and_the_gradient_is_that_of_the_values() -> None:
    x = torch.linspace(-6, 6, 25, requires_grad=True)
    assert torch.equal(quick_gelu(x), QuickGELU()(x))
    assert torch.autograd.gradcheck(quick_gelu, (x.detach().double().requires_grad_(True),))
