"""Commands for API tokens: list, create and revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
from flask.cli import AppGroup

from .. import actions, queries
from ..serializers import CreatedTokenObject, TokenObject
from ..token_access import CONDITIONS, GRANTABLE
from . import completion
from .failures import CommandFailure, Misuse, reports_errors
from .options import JSON, LIMIT, SINCE, TENANT, UNTIL
from .output import print_json, print_table, say, shown_time, tell_of_more
from .parsing import current_access, note_of_tenant, within_tenant

tokens = AppGroup("tokens", help="Tokens that give programs access to the API.")


@tokens.command("list")
@TENANT
@click.option("--state", type=click.Choice(CONDITIONS))
@SINCE
@UNTIL
@LIMIT
@JSON
@reports_errors
def list_tokens(
    tenant: str | None,
    state: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List tokens, newest first. The tokens themselves are not shown."""
    access = within_tenant(current_access(), tenant)
    page = queries.list_tokens(access, limit=limit, state=state, since=since, until=until)
    if as_json:
        print_json(TokenObject.serialize(row) for row in page.items)
        return
    print_table(
        ("ID", "STATE", "TENANT", "MAY", "LAST USED", "EXPIRES", "BY", "ENDING", "NAME"),
        [
            (
                row.token.id,
                row.condition,
                row.token.tenant or "all",
                ",".join(row.token.actions),
                _time(row.token.last_used_at),
                _time(row.token.expires_at),
                row.token.created_by,
                row.token.ending,
                row.token.name,
            )
            for row in page.items
        ],
        "No tokens match."
        if any((tenant, state, since, until))
        else "There are no tokens. Create one with: flask webhooks tokens create NAME --may view",
    )
    tell_of_more(page)


@tokens.command("create")
@click.argument("name")
@click.option(
    "--may",
    "allowed",
    multiple=True,
    required=True,
    type=click.Choice(GRANTABLE),
    help="Permissions.",
)
@click.option(
    "--tenant",
    metavar="ID",
    help="The tenant whose endpoints it sees; default: all tenants.",
    shell_complete=completion.tenants,
)
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    help="Lifetime of the token; default: it never expires.",
)
@JSON
@reports_errors
def create_token(
    name: str, allowed: tuple[str, ...], tenant: str | None, days: int | None, as_json: bool
) -> None:
    """Create a token and print it once."""
    access = current_access()
    if not access.state.hooks.tokens:
        raise CommandFailure(
            "This application has no API that accepts tokens. Mount one with webhooks.api_blueprint(tokens=True)."
        )
    if tenant is not None and not tenant.strip():
        raise Misuse("Write the id of a tenant after --tenant, or leave it out for all tenants.")
    note_of_tenant(access, tenant)
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    created = actions.create_token(access, name, allowed, tenant=tenant, expires_at=expires_at)
    if as_json:
        print_json(CreatedTokenObject.serialize(created))
        return
    say(f"Created {created.token.id} ({created.token.name}).")
    say(f"Token, only shown once: {created.secret}")


@tokens.command("revoke")
@click.argument("token_id", shell_complete=completion.token_ids)
@reports_errors
def revoke_token(token_id: str) -> None:
    """Revoke a token: the next request with it is refused."""
    token = actions.revoke_token(current_access(), token_id)
    say(f"Revoked {token.id} ({token.name}).")


def _time(moment: datetime | None) -> str:
    return "never" if moment is None else shown_time(moment)
