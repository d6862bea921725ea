"""Claim due deliveries: find, lock, plan, lease."""
