"""Our code beside the official implementations."""
