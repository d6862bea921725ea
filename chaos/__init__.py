"""Chaos: a steady stream of events while everything around it breaks, and what came of each of them.

``CHAOS_SECONDS=60 make chaos``; `docs/reports/chaos.md` says what is done and what is counted.
"""
