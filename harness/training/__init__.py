"""One run: training and evaluation."""
