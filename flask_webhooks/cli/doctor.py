"""``flask webhooks doctor``: problems, their consequences, and how to fix them."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from .failures import reports_errors
from .options import JSON
from .output import plain, print_json, say
from .parsing import current_access


@click.command()
@JSON
@click.pass_context
@with_appcontext
@reports_errors
def doctor(context: click.Context, as_json: bool) -> None:
    """Check everything that webhooks need, and report what is wrong and how to fix it.

    Checks configuration, tables and indexes, Redis, workers and scheduler, keys, clocks, certificates, and whether
    receivers can be reached, without sending anything. Exits with status 1 if something is wrong.
    """
    # Imports the workers' side, which other commands do not need.
    from ..doctor import Finding, Level, examine

    found: list[Finding] = []
    for finding in examine(current_access()):
        found.append(finding)
        if not as_json:
            say(f"{finding.level.upper():8} {finding.area}: {plain(finding.text)}")
            for line in (finding.meaning, finding.advice):
                if line:
                    say(f"{'':8}   {plain(line)}")
    if as_json:
        print_json(
            {
                "area": finding.area,
                "level": finding.level,
                "finding": finding.text,
                "meaning": finding.meaning,
                "advice": finding.advice,
            }
            for finding in found
        )
    problems, warnings = (
        sum(finding.level is level for finding in found) for level in (Level.PROBLEM, Level.WARNING)
    )
    if not as_json:
        say()
        say(f"Problems: {problems}. Warnings: {warnings}.")
    if problems:
        context.exit(1)
