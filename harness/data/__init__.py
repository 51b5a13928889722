"""Images, labels and class names: which data sets there are, how they are read, sampled, augmented and batched.

A `Picture` is an entry of a data set: path and label. What is read from its file is an image.
"""
