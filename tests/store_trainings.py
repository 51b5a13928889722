"""Stores what the plain loop in float64 ends with: run it once for a new method, and commit the file that it writes.

    python -m tests.store_trainings              all methods that have none
    python -m tests.store_trainings coop maple   these, whether they have one or not

`tests/harness/training/test_float64.py` then trains them by the harness's own machinery and compares.
"""

import sys
import time

from harness.errors import UserError
from harness.experiment.registry import check_method, method_names
from tests.plain_training import PlainTraining, is_checked, spec_of
from tests.stored_trainings import Stored, path_of, summarise, write


def main(names: list[str]) -> None:
    """Store the trainings of some methods; one that cannot be trained keeps no other from being stored."""
    failed = False
    for name in names or [name for name in method_names() if is_checked(name) and not path_of(name).exists()]:
        start = time.monotonic()
        try:
            spec = spec_of(check_method(name))
            stored = Stored(spec, summarise(*PlainTraining(spec).run()))
        except UserError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            failed = True
            continue
        write(name, stored)
        most = max(summary.moved for summary in stored.weights.values())
        print(f"{path_of(name)}: moved by up to {most:.2g}, {time.monotonic() - start:.1f} s")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
