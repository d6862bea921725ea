"""``flask webhooks …``: run workers, create the tables, look after endpoints and deliveries."""

from . import bulk, matching, schema
from .commands import deliveries, endpoints, webhooks
from .failures import end_our_command

__all__ = ["end_our_command", "webhooks"]

bulk.add_to(webhooks, endpoints, deliveries)
matching.add_to(deliveries)
schema.add_to(webhooks)
