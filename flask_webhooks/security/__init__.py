"""Checks of addresses, URLs and headers, signatures, and encryption at rest."""
