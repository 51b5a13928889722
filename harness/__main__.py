"""`python -m harness` is the `skipbench` command."""

import sys

from harness.machine.ending import quick_end


def main() -> None:
    """Entry point. The command line is imported here, so that Ctrl-C during the import prints one line too."""
    with quick_end():
        try:
            from harness.cli import main as command_line

            command_line()
        except KeyboardInterrupt:
            sys.stderr.write("error: stopped\n")
            sys.exit(130)


if __name__ == "__main__":
    main()
