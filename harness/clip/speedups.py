"""Ways to compute the same with less work or memory.

Each can be switched off, to measure what it brings and to test that it changes no result. All off is how the reference
code of this field computes.
"""

from dataclasses import dataclass


@dataclass
class Speedups:
    """Switches of a CLIP, read whenever it computes.

    Attributes:
        cut_prompts: prompts end at end-of-text: the text tower is causal, nothing behind matters.
        share_prefix: leading tokens that all prompts share go through the text tower once, not once a class.
        read_one_token: the last block computes only the token that is read (class token, end-of-text).
        recompute_cheap: outputs of LayerNorms and activations are computed again in the backward pass, not kept for it.
        step_in_backward: weights are updated while the backward pass goes on, so that never all gradients are there.
        prompts_at_once: methods whose texts depend on the image put so many prompts through the text tower at once;
            1 is one image at a time.
    """

    cut_prompts: bool = True
    share_prefix: bool = True
    read_one_token: bool = True
    recompute_cheap: bool = True
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
    step_in_backward=False,
    prompts_at_once=1,
)
