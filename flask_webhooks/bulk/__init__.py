"""Bulk tasks: the selection, the changes, and the worker that applies them in small batches.

A *task* is a row. Each batch is a transaction that also moves the cursor of the task, so a worker that takes it
over after a crash continues at the same point, and nothing is done twice.
"""
