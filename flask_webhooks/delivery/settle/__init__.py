"""Settle attempts: decide, write."""
