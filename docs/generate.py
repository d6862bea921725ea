"""Writes what follows from the code into the pages of the reference: ``python docs/generate.py``.

A page says ``<!-- generate: settings timeout lease -->``; what stands between that and ``<!-- end -->`` is
replaced. A test fails when a page is not what this would write.
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_webhooks import Webhooks, config, queries, signals
from flask_webhooks.api.document_views import ROUTES
from flask_webhooks.attempt_errors import SENTENCES
from flask_webhooks.catalog.registry import EventType, builtin_catalog
from flask_webhooks.cli import webhooks
from flask_webhooks.errors import ConfigurationError
from flask_webhooks.formats import Answer, Format, builtin_formats
from flask_webhooks.formats.chat.base import ENDINGS, Tone
from flask_webhooks.formats.examples import render_example
from flask_webhooks.metrics.families import Families

FOLDER = Path(__file__).resolve().parent

#: Defaults that depend on something.
DEFAULTS = {
    "require_https": "`True`; `False` in debug and testing mode",
    "redis_url": "`REDIS_URL`, else `redis://localhost:6379/0`",
    "encryption_keys": "empty: derived from `SECRET_KEY`",
    "installation": "derived",
}
#: What values there are, where the check does not say it in a few words.
KINDS = {
    "redis_url": "`redis://`, `rediss://`, `unix://` or `redis+sentinel://` URL",
    "url_prefix": "path, or `None`",
    "subdomain": "text, or `None`",
    "bind_key": "text, or `None`",
    "base_template": "template name, or `None`",
    "base_block": "name of a block",
    "allowed_networks": "list of CIDRs",
    "denied_networks": "list of CIDRs",
    "allowed_ports": "list of ports",
    "egress_proxy": "`http://` URL, or `None`",
    "encryption_keys": "list of Fernet keys",
    "default_format": "name of a format",
    "event_types": "list of names and patterns, or `None`",
    "formats": "list of names, or `None`",
    "validate_data": '`"raise"`, `"log"` or `None`',
    "store_bodies": '`"all"`, `"failed"` or `"none"`',
    "retention_succeeded_days": "whole number, 1 to 36,500, or `None`",
    "retention_failed_days": "whole number, 1 to 36,500, or `None`",
    "retention_request_body_days": "whole number, 1 to 36,500, or `None`",
    "retention_response_body_days": "whole number, 1 to 36,500, or `None`",
    "health_overdue": "seconds, 1 to 2,592,000, or `None`",
    "max_endpoints": "whole number, 1 to 1,000,000, or `None`",
    "max_tokens": "whole number, 1 to 1,000,000, or `None`",
    "max_sends_per_hour": "whole number, 1 to 1,000,000, or `None`",
    "max_send_bytes_per_day": "whole number, 1,024 to 1,000,000,000, or `None`",
    "max_bulk_sends_per_day": "whole number, 1 to 1,000,000,000, or `None`",
}


def render(page: str) -> str:
    """A page with its generated parts as they must be."""
    return re.sub(
        r"<!-- generate: (.+?) -->\n.*?<!-- end -->",
        lambda part: f"<!-- generate: {part[1]} -->\n\n{_part(*part[1].split())}\n\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


def _part(kind: str, *arguments: str) -> str:
    parts: dict[str, Callable[..., str]] = {
        "settings": settings,
        "event-types": event_types,
        "signals-in": signals_in,
        "signals-out": signals_out,
        "command": command,
        "format": format_,
        "colours": colours,
        "attempt-errors": attempt_errors,
        "metrics": metrics,
        "surfaces": surfaces,
        "filters": filters,
    }
    return parts[kind](*arguments).strip()


# -- settings --------------------------------------------------------------------------------------


def settings(*names: str) -> str:
    """A table of some settings."""
    meanings = setting_meanings()
    defaults = {field.name: field.default for field in fields(config.Settings)}
    rows = [
        (
            f"`WEBHOOKS_{name.upper()}`",
            DEFAULTS.get(name) or _default(name, defaults[name]),
            _kind(name),
            meanings[name],
        )
        for name in names
    ]
    return _table(("Key", "Default", "Values", "Meaning"), rows)


def setting_meanings() -> dict[str, str]:
    """What the line above each setting in ``config.py`` says, by the setting's name."""
    source = inspect.getsource(config.Settings)
    found = re.findall(r"((?: +#: .+\n)+) +(\w+):", source)
    return {name: _plain(" ".join(re.findall(r"#: (.+)", text))) for text, name in found}


def _default(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{item:g}' for item in value)}]`" if value else "`[]`"
    if isinstance(value, float):
        return f"`{value:g}`{_in_words(value) if _is_time(name) else ''}"
    return f"`{value!r}`"


def _kind(name: str) -> str:
    if name in KINDS:
        return KINDS[name]
    try:
        config._CHECKS[name]("", object())
    except ConfigurationError as error:
        said = str(error)
    if " must be True or False" in said:
        return "`True` or `False`"
    if limits := re.search(r"(seconds|whole number|share) from (\S+) to (\S+),", said):
        low, high = (f"{float(limit.replace(',', '')):,.10g}" for limit in limits.group(2, 3))
        return f"{limits[1]}, {low} to {high}"
    return "list of seconds" if "list of seconds" in said else "text"


def _is_time(name: str) -> bool:
    return name != "retry_jitter"


def _in_words(seconds: float) -> str:
    if seconds < 60:
        return ""
    hours = timedelta(seconds=seconds) / timedelta(hours=1)
    return f" ({hours:g} h)" if hours >= 1 else f" ({seconds / 60:g} min)"


# -- event types and signals -----------------------------------------------------------------------


def event_types() -> str:
    """Every built-in event type with its members and an example."""
    parts = []
    for title, kinds in builtin_catalog().groups().items():
        parts.append(f"## {title}")
        parts.extend(_event_type(kind) for kind in kinds)
    return "\n\n".join(parts)


def _event_type(kind: EventType) -> str:
    notes = [
        "Exists only if the transaction commits."
        if kind.transactional
        else "Recorded even if the transaction is rolled back.",
        "High volume: may occur with every client request." if kind.high_volume else "",
        "Deprecated: it will be removed in the future." if kind.deprecated else "",
        "Operational: sent by Flask-Webhooks itself." if kind.operational else "",
        "" if kind.subscribable else "Cannot be subscribed to: it is only sent manually.",
    ]
    if kind.operational or not kind.subscribable:
        notes[0] = ""
    rows = [
        (f"`{path}`", _type_of(schema), "yes" if required else "", _plain(schema["description"]))
        for path, schema, required in members(kind.schema)
    ]
    example = json.dumps(kind.example, indent=2, ensure_ascii=False)
    return "\n\n".join(
        [
            f"### {kind.name}",
            " ".join([kind.description, *filter(None, notes)]),
            _table(("Member of `data`", "Type", "Always", "Meaning"), rows),
            f"```json\n{example}\n```",
        ]
    )


def members(
    schema: Mapping[str, Any], prefix: str = ""
) -> Iterable[tuple[str, Mapping[str, Any], bool]]:
    """Path, schema and whether it is always there, of every documented member."""
    required = schema.get("required", ())
    for name, member in schema["properties"].items():
        yield prefix + name, member, name in required
        if "properties" in member:
            yield from members(member, f"{prefix}{name}.")


def _type_of(schema: Mapping[str, Any]) -> str:
    types: list[str] = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = {"array": "list of text", "date-time": "time", "integer": "whole number"}
    named = [words.get(item, item) for item in types]
    if schema.get("format") == "date-time":
        named = ["time" if item == "string" else item for item in named]
    return ", ".join("text" if item == "string" else item for item in named)


def metrics() -> str:
    """A table of all metrics."""
    rows = [
        (
            f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
            family.type,
            ", ".join(f"`{name}`" for name in getattr(family, "_labelnames")),  # noqa: B009
            family.documentation,
        )
        for family in Families(queries.METRIC_LABELS).all()
    ]
    return _table(("Name", "Type", "Labels", "Meaning"), rows)


def signals_in() -> str:
    """A table of the signals that the host sends."""
    catalog = builtin_catalog()
    rows = [
        (
            f"`{name.replace('.', '_')}`",
            f"[`{name}`](event-types.md#{anchor(name)})",
            "" if catalog[name].transactional else "no",
            catalog[name].description,
        )
        for name in signals.SIGNALS
    ]
    return _table(("Signal", "Event type", "Transactional", "Send it when"), rows)


def signals_out() -> str:
    """The signals that the host may receive."""
    parts = []
    for name in OUTGOING:
        text = inspect.cleandoc(getattr(signals, name).__doc__ or "")
        summary, _, rest = text.partition("\n\n")
        found = re.findall(r":param (\w+): (.+?)(?=\n:param|\Z)", rest, re.DOTALL)
        rows = [(f"`{keyword}`", _sentence(_plain(said))) for keyword, said in found]
        parts += [f"### {name}", _plain(summary), _table(("Keyword", "Meaning"), rows)]
    return "\n\n".join(parts)


OUTGOING = (
    "attempt_recorded",
    "delivery_succeeded",
    "delivery_failed",
    "endpoint_failing",
    "endpoint_recovered",
    "endpoint_disabled",
)


def anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return kept.replace(" ", "-")


# -- formats ---------------------------------------------------------------------------------------

#: The event type that the reference shows in every format.
SHOWN = "license.activated"
PRODUCT = config.Settings().product_name


def format_(name: str) -> str:
    """What a format asks of its receivers, and one request of it."""
    style = builtin_formats()[name]
    example = render_example(style, builtin_catalog()[SHOWN], product_name=PRODUCT)
    rows = [
        ("Secret", _secret(style)),
        ("Headers", ", ".join(f"`{header}`" for header in example.headers)),
        ("Success", _success(style)),
        ("Timeout", "`WEBHOOKS_TIMEOUT`" if style.timeout is None else f"{style.timeout:g} s"),
        ("A test sends", f"`{style.test_event}`"),
    ]
    head = "\n".join(f"{header}: {value}" for header, value in example.headers.items())
    return "\n\n".join(
        [
            _table(("Of the format", f"`{name}`"), rows),
            f"```http\nPOST {example.url} HTTP/1.1\n{head}\n\n{example.pretty_body}\n```",
        ]
    )


def _secret(style: Format) -> str:
    if not style.signed:
        return "None; the URL is the secret." if style.secret_url else "None."
    return "Optional." if style.secret_optional else "Always."


def _success(style: Format) -> str:
    """By asking the format about every status."""
    body = b'{"ok": true}'
    taken = [status for status in range(100, 600) if style.succeeded(Answer(status, {}, body))]
    said = "Any 2xx" if taken == [*range(200, 300)] else ", ".join(map(str, taken))
    if not style.succeeded(Answer(taken[0], {}, b"")):
        said += ', and `"ok": true` in the body'
    return f"{said}."


# -- commands --------------------------------------------------------------------------------------


def colours() -> str:
    names = {Tone.GOOD: "green", Tone.BAD: "red", Tone.WARNING: "orange", Tone.NEW: "blue"}
    rows = [
        (names[tone], " ".join(f"`{ending}`" for ending in sorted(endings.split())))
        for tone, endings in ENDINGS.items()
    ]
    return _table(("Colour", "Endings"), rows)


def attempt_errors() -> str:
    """Codes of what goes wrong with a request, with their sentences."""
    return _table(
        ("`error_code`", "`error`"),
        [
            (f"`{code}`", re.sub(r"%\((\w+)\)s", r"*\1*", sentence.template))
            for code, sentence in SENTENCES.items()
        ],
    )


def command(*names: str) -> str:
    """Usage, meaning and options of one command."""
    found: click.Command = webhooks
    for name in names:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    arguments = [p for p in found.params if isinstance(p, click.Argument)]
    options = [p for p in found.params if isinstance(p, click.Option)]
    usage = " ".join(
        ["flask webhooks", *names, *(["[OPTIONS]"] if options else [])]
        + [argument.human_readable_name or "" for argument in arguments]
    )
    parts = [f"```text\n{usage}\n```", inspect.cleandoc(found.help or "")]
    if options:
        rows = [(_option(option), _option_help(option)) for option in options]
        parts.append(_table(("Option", "Meaning"), rows))
    return "\n\n".join(parts)


def _option(option: click.Option) -> str:
    value = ""
    if not option.is_flag:
        value = " " + (option.metavar or option.type.name.upper().replace(" RANGE", ""))
    return f"`{', '.join(option.opts)}{value}`"


def _option_help(option: click.Option) -> str:
    said = [option.help or ""]
    if isinstance(option.type, click.Choice):
        said.append(f"One of {', '.join(f'`{choice}`' for choice in option.type.choices)}.")
    if option.multiple:
        said.append("May be given several times.")
    if option.show_default and not option.is_flag:
        said.append(f"Default: {option.default}.")
    return " ".join(filter(None, said))


# -- filters ---------------------------------------------------------------------------------------

#: Lists by their commands: where else they are, and which filters they do without, and why.
LISTS: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / "reference/filters.toml").read_text())
#: Those that every list takes, or says why not.
FILTERS = ("tenant", "type", "since", "until", "state", "health", "event", "endpoint")


def filters() -> str:
    """The table of the filters that lists take."""
    rows = []
    for name, found in LISTS.items():
        without = found["without"]
        taken = " ".join(f"`--{item}`" for item in FILTERS if item not in without)
        reasons = "; ".join(f"`--{item}`: {why}" for item, why in without.items())
        rows.append((f"[`{name}`](#{anchor(name)})", taken, reasons))
    return _table(("List", "Takes", "Not"), rows)


# -- surfaces --------------------------------------------------------------------------------------

#: Verbs by their group, and what each of them is on each surface.
SURFACES: dict[str, dict[str, dict[str, str]]] = tomllib.loads(
    (FOLDER / "reference/surfaces.toml").read_text()
)
_COLUMNS = {"page": "Page", "api": "API", "command": "Command", "python": "Python"}


def surfaces() -> str:
    """Tables of what can be done where."""
    cells: dict[str, Callable[[str], str]] = {
        "page": admin_paths().__getitem__,
        "api": {route.name: f"`{route.method} {route.path}`" for route in ROUTES}.__getitem__,
        "command": lambda name: f"[`{name}`](cli.md#{anchor(name)})",
        "python": lambda name: f"`{name}`",
    }
    parts = []
    for group, verbs in SURFACES.items():
        rows = [
            (what, *(_surface(where.get(column, ""), cells[column]) for column in _COLUMNS))
            for what, where in verbs.items()
        ]
        parts += [f"## {group}", _table(("", *_COLUMNS.values()), rows)]
    return "\n\n".join(parts)


def _surface(cell: str, shown: Callable[[str], str]) -> str:
    found = [shown(name) + (f" `{note}`" if note else "") for name, note in named(cell)]
    return ", ".join(found) or "–"  # noqa: RUF001


def named(cell: str) -> list[tuple[str, str]]:
    """What a cell of the tables names, each with what is shown beside it."""
    return re.findall(r"([^,()]+?)(?: \((.+?)\))?(?:, |$)", cell)


def admin_paths() -> dict[str, str]:
    """The paths of the pages, by their views."""
    app = Flask("docs")
    app.config.update(SECRET_KEY="docs", SQLALCHEMY_DATABASE_URI="sqlite://")
    Webhooks(SQLAlchemy(app), app)
    prefix = app.extensions["webhooks"].settings.url_prefix
    paths = {
        rule.endpoint.removeprefix("flask_webhooks."): rule.rule.removeprefix(prefix)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("flask_webhooks.") and not rule.endpoint.endswith(".static")
    }
    return {view: f"`{path}`" for view, path in paths.items()}


# -- Markdown --------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def _plain(text: str) -> str:
    """Markdown of what docstrings write in reStructuredText."""
    return " ".join(text.replace("``", "`").split())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def main() -> None:
    for path in sorted(FOLDER.rglob("*.md")):
        page = path.read_text()
        if (rendered := render(page)) != page:
            path.write_text(rendered)


if __name__ == "__main__":
    main()
