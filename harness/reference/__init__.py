"""Our code compared with the official implementations."""
