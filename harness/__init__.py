"""SkipBench: the machine that trains, measures and compares ways to adapt CLIP. Knows no method by name."""

import os

__version__ = "0.2.0"

# torch's CPU threads spin while they wait for each other. Where another process has one of the cores, that slows small
# models down many times; a short spin and then sleep is as fast on idle cores and robust on busy ones. OpenMP reads
# this when torch is loaded, so it is set here, unless the user has said how threads wait.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2500")
