"""Commands for portal links: list, create and revoke."""

from __future__ import annotations

from datetime import timedelta

import click
from flask.cli import AppGroup

from .. import actions, queries
from ..serializers import CreatedPortalLinkObject, PortalLinkObject
from ..token_access import GRANTABLE
from . import completion
from .failures import reports_errors
from .options import JSON, LIMIT, TENANT
from .output import print_json, print_table, say, shown_time, tell_of_more
from .parsing import current_access, note_of_tenant, within_tenant

portal_links = AppGroup(
    "portal-link", help="Links that open the pages for one tenant without a login."
)


@portal_links.command("list")
@TENANT
@LIMIT
@JSON
@reports_errors
def list_portal_links(tenant: str | None, limit: int, as_json: bool) -> None:
    """List portal links, newest first. Their URLs are not shown."""
    page = queries.list_portal_links(within_tenant(current_access(), tenant), limit=limit)
    if as_json:
        print_json(PortalLinkObject.serialize(row) for row in page.items)
        return
    print_table(
        ("ID", "STATE", "TENANT", "FOR", "MAY", "EXPIRES", "BY"),
        [
            (
                row.link.id,
                row.condition,
                row.link.tenant,
                row.link.actor,
                ",".join(row.link.actions),
                shown_time(row.link.expires_at),
                row.link.created_by,
            )
            for row in page.items
        ],
        "There are no portal links. Create one with: flask webhooks portal-link create TENANT --actor NAME",
    )
    tell_of_more(page)


@portal_links.command("create")
@click.argument("tenant")
@click.option("--actor", required=True, help="Name of the user, for the audit log.")
@click.option(
    "--may",
    "allowed",
    multiple=True,
    type=click.Choice(GRANTABLE),
    default=("view",),
    show_default=True,
    help="Permissions.",
)
@click.option(
    "--minutes",
    type=click.IntRange(1, 43_200),
    default=60,
    show_default=True,
    help="Lifetime of the link.",
)
@JSON
@reports_errors
def create_portal_link(
    tenant: str, actor: str, allowed: tuple[str, ...], minutes: int, as_json: bool
) -> None:
    """Create a link that opens the pages for one tenant, and print it once."""
    access = current_access()
    note_of_tenant(access, tenant)
    created = actions.create_portal_link(
        access, tenant, actor=actor, actions=allowed, expires_in=timedelta(minutes=minutes)
    )
    if as_json:
        print_json(CreatedPortalLinkObject.serialize(created))
        return
    say(f"Created {created.link.id}, until {shown_time(created.link.expires_at)}.")
    say(f"Link, only shown once: {created.url}")


@portal_links.command("revoke")
@click.argument("link_id", shell_complete=completion.portal_link_ids)
@reports_errors
def revoke_portal_link(link_id: str) -> None:
    """Revoke a portal link, and end the session that it opened."""
    link = actions.revoke_portal_link(current_access(), link_id)
    say(f"Revoked {link.id} ({link.actor}).")
