"""Waking the workers by way of Redis, which holds nothing that must not be lost."""
