"""Stored dropout masks in the place of our own draws."""

import torch

from harness.reference.parity.masks import unpacked_mask


def test_bits_are_those_of_tokens_rows_and_width_the_most_significant_first() -> None:
    whole = torch.rand(5, 3, 8, generator=torch.Generator().manual_seed(0)) < 0.5  # tokens, rows, width
    powers = 2 ** torch.arange(7, -1, -1)
    packed = (whole.view(-1, 8) * powers).sum(dim=1).to(torch.uint8)
    assert torch.equal(unpacked_mask(packed, (3, 5, 8)), whole.transpose(0, 1))
    # Prompts may be cut.
    assert torch.equal(unpacked_mask(packed, (3, 2, 8)), whole[:2].transpose(0, 1))
