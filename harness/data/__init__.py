"""Pictures, labels and class names: which data sets there are, how they are read, sampled, augmented and batched."""
