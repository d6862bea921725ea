"""``flask webhooks reencrypt``: encrypt stored values with the newest key."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from .. import actions, queries
from .failures import CommandFailure, reports_errors
from .output import say
from .parsing import current_access

#: The maximum number of endpoints in a message.
_NAMED = 20


@click.command()
@click.option("--dry-run", is_flag=True, help="Only report what needs an older key.")
@with_appcontext
@reports_errors
def reencrypt(dry_run: bool) -> None:
    """Encrypt stored values with the newest key, so that older ones can be removed.

    Run it after changing WEBHOOKS_ENCRYPTION_KEYS or SECRET_KEY, when all processes have the new key. It can be
    stopped and run again, while workers keep running. Exits with status 1 if something needs a missing key.
    """
    access = current_access()
    if dry_run:
        use = queries.key_use(access)
        say(f"{len(use.older):,} of {use.endpoints:,} endpoints need an older key.")
        if use.older_bodies:
            say(f"The bodies of {use.older_bodies:,} attempts need an older key.")
        _check(use.unreadable, use.unreadable_bodies)
        return
    progress = actions.Reencryption()
    count = queries.count_endpoints(access) + queries.key_use(access).older_bodies
    with click.progressbar(length=count, label="Encrypting endpoints") as bar:
        for progress in actions.reencrypt(access):
            bar.update(progress.seen + progress.bodies - bar.pos)
        # Some have no encrypted values.
        bar.update(count - bar.pos)
    say(f"Encrypted {progress.renewed:,} of {progress.seen:,} endpoints with the newest key.")
    if progress.bodies:
        say(f"Encrypted the bodies of {progress.bodies:,} attempts with the newest key.")
    _check(progress.unreadable, progress.unreadable_bodies)
    if progress.missed:
        raise CommandFailure(
            f"{progress.missed:,} endpoints were changed meanwhile. Run the command again."
        )
    say("No endpoint needs an older key any more.")


def _check(unreadable: tuple[str, ...] | list[str], bodies: int) -> None:
    """:raises Failure: no key decrypts some of the values.

    :param bodies: attempts whose bodies no key decrypts.
    """
    if bodies and not unreadable:
        raise CommandFailure(
            f"No key decrypts the bodies of {bodies:,} attempts. Add the old key to the end of "
            "WEBHOOKS_ENCRYPTION_KEYS (or the old SECRET_KEY to SECRET_KEY_FALLBACKS) and run the command again; or "
            "wait until they are removed by retention."
        )
    if not unreadable:
        return
    named = ", ".join(unreadable[:_NAMED])
    more = f" and {len(unreadable) - _NAMED:,} others" if len(unreadable) > _NAMED else ""
    raise CommandFailure(
        f"No key decrypts the stored values of {named}{more}. Add the old key to the end of WEBHOOKS_ENCRYPTION_KEYS "
        "(or the old SECRET_KEY to SECRET_KEY_FALLBACKS) and run the command again; or rotate their secrets, and "
        "enter their headers and URLs again."
    )
