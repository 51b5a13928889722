"""Commands and functions on a terminal of a given width."""

import errno
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import warnings
from collections.abc import Callable

from harness.cli import console as module
from tests.commands import skipbench_here

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")


def on_terminal(width: int, work: Callable[[], object]) -> str:
    """What a function prints on a terminal, colours and cursor movements left out; it runs in a fork of this process.

    Args:
        width: of the terminal in characters.
        work: what to do; a SystemExit ends it.
    """
    with warnings.catch_warnings():
        # The fork only prints: it uses no thread of this process.
        warnings.simplefilter("ignore", DeprecationWarning)
        child, terminal = pty.fork()
    if child == 0:
        try:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
            os.environ["TERM"] = "xterm"
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)
            # Where tests run in several processes, these variables were set when the consoles were made.
            for console in (module.console, module.errors):
                console._width = console._height = None
            # pytest has put its own in their places.
            sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
            work()
        except SystemExit:
            pass
        except BaseException as error:
            print(f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    printed = b""
    while True:
        try:
            part = os.read(terminal, 2**16)
        except OSError as error:
            if error.errno != errno.EIO:  # the other end was closed
                raise
            break
        if not part:
            break
        printed += part
    os.close(terminal)
    os.waitpid(child, 0)
    return ESCAPES.sub("", printed.decode(errors="replace").replace("\r\n", "\n"))


def command_on_terminal(width: int, *words: str) -> str:
    """What a command prints on a terminal of a width."""
    return on_terminal(width, lambda: skipbench_here(*words))


def numbers_in(text: str) -> list[str]:
    """The numbers of a text."""
    return NUMBERS.findall(text)
