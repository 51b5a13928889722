"""One file per adaptation method. A file here is a method; `base.py` is their common interface.

Files in the folder that the environment variable SKIPBENCH_METHODS names are methods, too.
"""

import os

__path__ = [*__path__, *filter(None, [os.environ.get("SKIPBENCH_METHODS")])]
