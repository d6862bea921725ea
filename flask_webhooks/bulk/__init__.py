"""Many deliveries at once: what is selected, what is done to it, and the worker that does it in small batches.

A *task* is a row. Its batches are transactions of their own that move its cursor along with the deliveries,
so a worker that takes it over after a crash continues where it was, and nothing is done twice.
"""
