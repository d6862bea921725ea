"""``flask init``, ``flask create-application`` and ``flask expire``."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import with_appcontext

from . import licensing
from .models import db, utc_now
from .problems import Refused


def init_app(app: Flask) -> None:
    """Add the commands."""
    for command in (init, create_application, expire):
        app.cli.add_command(command)


@click.command
@with_appcontext
def init() -> None:
    """Create the tables, those of the webhooks included."""
    db.create_all()
    click.echo("The tables are there.")


@click.command
@click.argument("name")
@with_appcontext
def create_application(name: str) -> None:
    """Register the application NAME and show its API key."""
    try:
        application_id, api_key = licensing.create_application(name)
    except Refused as error:
        raise click.ClickException(error.detail) from error
    click.echo(f"Application: {application_id}")
    click.echo(f"API key:     {api_key}  (shown only now)")


@click.command
@with_appcontext
def expire() -> None:
    """Mark licences whose term is over; for cron, every few minutes."""
    click.echo(f"{licensing.expire_due(utc_now())} licences expired.")
