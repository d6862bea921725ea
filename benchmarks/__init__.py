"""Repeatable benchmarks of Flask-Webhooks: ``python -m benchmarks``.

They only use what users have: the host's API, the models, HTTP, ``rq worker``. See `docs/benchmarks.md`.
"""
