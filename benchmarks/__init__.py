"""Figures for Flask-Webhooks that anybody can repeat: ``python -m benchmarks.throughput``."""
