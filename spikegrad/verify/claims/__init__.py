"""One claim a file; a new one is a new file in this folder (see `verify/registry.py`)."""
