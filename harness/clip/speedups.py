"""Ways to compute the same with less work or memory.

Each can be switched off, to measure its benefit and to test that it changes no result. With all switched off, CLIP is
computed as in the reference code.
"""

from dataclasses import dataclass


@dataclass
class Speedups:
    """Switches of a CLIP, read whenever it computes.

    Attributes:
        cut_prompts: leave out the tokens after end-of-text; the text tower is causal, so that they do not matter.
        share_prefix: compute leading tokens that all prompts have in common once, not once per class.
        read_one_token: in the last block, compute only the token that is read (class token or end-of-text).
        recompute_cheap: compute outputs of LayerNorms and activation functions again in the backward pass instead of
            keeping them for it, in towers where that pays (`Tower.recomputes`); of a ResNet, apply the frozen
            normalisation to weights or in place.
        changes_as_factors: apply a low-rank change of a matrix as two thin products, instead of first making the whole
            matrix of it.
        step_in_backward: update weights during the backward pass, so that all gradients never exist at once.
        prompts_at_once: number of prompts that methods whose texts depend on the image put through the text tower at
            once; 1 is one image at a time.
    """

    cut_prompts: bool = True
    share_prefix: bool = True
    read_one_token: bool = True
    recompute_cheap: bool = True
    changes_as_factors: bool = True
    step_in_backward: bool = True
    prompts_at_once: int = 512

    def switch_off(self) -> None:
        """Compute as the reference code does."""
        vars(self).update(vars(NO_SPEEDUPS))


NO_SPEEDUPS = Speedups(
    cut_prompts=False,
    share_prefix=False,
    read_one_token=False,
    recompute_cheap=False,
    changes_as_factors=False,
    step_in_backward=False,
    prompts_at_once=1,
)
