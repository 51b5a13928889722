"""What is imported once, in the server that the processes of runs are forked from, instead of once a run.

Besides the run itself these are modules that libraries import late: W&B when a run starts and when it writes a summary,
Pillow when it opens the first picture. Importing them takes a short run a third of its time.
"""

from contextlib import suppress
from importlib import import_module

from PIL import Image

LATE = ("wandb.sdk.launch", "pandas")


def preload() -> None:
    """Import all of it; a module that a version of a library does not have is left to the runs."""
    import_module("harness.training.run")
    Image.init()
    for name in LATE:
        with suppress(ImportError):
            import_module(name)


preload()
