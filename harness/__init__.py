"""SkipBench: the machine that trains, measures and compares ways to adapt CLIP. Knows no method by name."""

import os

__version__ = "0.1.0"

# torch's CPU threads spin while they wait for each other. Where another process has one of the cores, that makes small
# models 30 times slower; sleeping costs next to nothing. OpenMP reads this when torch is loaded, so it is set here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
