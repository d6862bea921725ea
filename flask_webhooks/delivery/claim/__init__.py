"""Take due deliveries: find, lock, plan, lease."""
