"""One file per adaptation method. A file here is a method; `base.py` is their common interface."""
