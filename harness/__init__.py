"""SkipBench: the machine that trains, measures and compares ways to adapt CLIP. Knows no method by name."""

__version__ = "0.1.0"
