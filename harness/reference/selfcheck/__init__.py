"""Whether a machine computes the right numbers, and how fast: without data sets, downloads or an account."""
