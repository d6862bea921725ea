"""``flask webhooks …``: run workers, create the tables, look after endpoints and deliveries."""

from .commands import webhooks

__all__ = ["webhooks"]
