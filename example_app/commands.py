"""The commands ``flask init``, ``flask create-application`` and ``flask expire``."""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import with_appcontext

from . import applications, selling
from .extensions import db
from .models import utc_now
from .problems import Refused


def init_app(app: Flask) -> None:
    """Add the commands."""
    for command in (init, create_application, expire):
        app.cli.add_command(command)


@click.command
@with_appcontext
def init() -> None:
    """Create the tables, including those of Flask-Webhooks."""
    db.create_all()
    click.echo("The tables exist.")


@click.command
@click.argument("name")
@with_appcontext
def create_application(name: str) -> None:
    """Register the application NAME, and show its API key and its owner's password."""
    try:
        application = applications.create(name)
    except Refused as error:
        raise click.ClickException(error.detail) from error
    click.echo(f"Application:       {application.id}")
    click.echo(f"API key:           {application.api_key}  (not shown again)")
    click.echo(f"Owner's password:  {application.owner_password}  (not shown again)")


@click.command
@with_appcontext
def expire() -> None:
    """Mark licences whose term is over. Run it every few minutes."""
    click.echo(f"Licences that expired: {selling.expire_due(utc_now())}")
