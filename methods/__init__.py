"""One file per adaptation method; nothing is registered. `base.py` is their common interface.

Files in the folder named by the environment variable SKIPBENCH_METHODS are methods, too.
"""

import os

__path__ = [*__path__, *filter(None, [os.environ.get("SKIPBENCH_METHODS")])]
