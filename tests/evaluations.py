"""Evaluations of few images, for tests in which no accuracy counts: a run of the protocol looks at 1336 of them."""

FEW_OF_BASE = "evaluate=[{name: base, dataset: emoji, classes: base.base, splits: [val]}]"
"""Validation images of a quarter of the classes."""
FEW_OF_BOTH = (
    "evaluate=[{name: base, dataset: emoji, classes: base.base.base, splits: [test]}, "
    "{name: new, dataset: emoji, classes: new.base.base, splits: [test]}]"
)
"""Test images of a quarter of the base classes and of the new ones, under the names of the protocol."""
