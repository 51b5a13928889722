"""Ways to compute the same with less work. Each can be switched off, to measure what it brings and to test that it
changes no result; all off is how the reference code of this field computes."""

from dataclasses import dataclass


@dataclass
class Speedups:
    """Switches of a CLIP, read whenever it computes.

    Attributes:
        cut_prompts: prompts end at the longest end-of-text position: the text tower is causal, nothing behind matters.
        share_prefix: leading tokens that all prompts share go through the text tower once, not once a class.
        read_one_token: the last block computes only the token that is read (class token, end-of-text).
        prompts_at_once: methods whose texts depend on the image put so many prompts through the text tower at once;
            1 is one image at a time.
    """

    cut_prompts: bool = True
    share_prefix: bool = True
    read_one_token: bool = True
    prompts_at_once: int = 512

    def switch_off(self) -> None:
        """Compute as the reference code does."""
        self.cut_prompts = self.share_prefix = self.read_one_token = False
        self.prompts_at_once = 1
