"""``flask webhooks …``: run workers, create the tables, look after endpoints and deliveries."""

from .commands import webhooks
from .failures import end_our_command

__all__ = ["end_our_command", "webhooks"]
