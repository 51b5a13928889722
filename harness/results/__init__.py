"""Results on disk: one folder for each run."""
