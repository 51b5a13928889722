"""What a method's training step, caching pass and inference cost with the speed-ups and without them, in one run."""
