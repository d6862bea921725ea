"""Functions that take any bytes, for `python -m tests.fuzz`."""
