"""Figures for Flask-Webhooks that anybody can repeat: ``python -m benchmarks``.

It stands on what users have, too: the host's API, the models, HTTP, ``rq worker``. See `docs/benchmarks.md`.
"""
