"""The formats of licensing services, and what they share."""
