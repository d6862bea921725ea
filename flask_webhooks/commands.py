"""The group ``flask webhooks``, without its commands: a process of the host that runs none does not import them."""

from __future__ import annotations

from typing import Any

import click


class LazyCommands(click.Group):
    """Stands for the group of `cli` until that is asked for."""

    @property
    def group(self) -> click.Group:
        from .cli import webhooks

        return webhooks

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Return a context of the real group, which then goes on."""
        return self.group.make_context(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self.group.list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.group.get_command(ctx, cmd_name)


webhooks = LazyCommands("webhooks", help="Run webhook workers; manage endpoints and deliveries.")
