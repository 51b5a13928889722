"""What the kept logits of finished runs say, beyond what was recorded; numbers only."""
