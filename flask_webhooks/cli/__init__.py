"""``flask webhooks …``: run workers, create the tables, look after endpoints and deliveries."""

from .bulk import add_to
from .commands import deliveries, endpoints, webhooks
from .failures import end_our_command

__all__ = ["end_our_command", "webhooks"]

add_to(webhooks, endpoints, deliveries)
