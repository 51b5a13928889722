"""Package data: the embedded picture sets and the small CLIP model."""
