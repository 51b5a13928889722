"""What is imported once, in the server that the processes of runs are forked from, instead of once a run.

Besides the run itself these are modules that libraries import late: W&B when a run starts and when it writes a summary,
Pillow when it opens the first picture, the tokenizer's when it is built. Importing them takes a short run a third of
its time.
"""

from contextlib import suppress
from importlib import import_module

from PIL import Image

from harness.clip.open_clip_files import simple_tokenizer
from harness.machine.ending import end_quickly

LATE = ("wandb.sdk.launch", "requests", "pandas")


def preload() -> None:
    """Import all of it; a module that a version of a library does not have is left to the runs."""
    import_module("harness.training.together")
    Image.init()
    simple_tokenizer()
    for name in LATE:
        with suppress(ImportError):
            import_module(name)


preload()
# The server shares the output of its command, whose reader waits for its end too.
end_quickly(lambda: 0)
