"""A JSON template of the customer, signed as in Standard Webhooks. Nothing in it is ever executed.

A text that is one placeholder becomes the value itself, of whatever kind; a placeholder within other text
becomes text. What is missing is null, or empty text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NoReturn

from ..errors import InvalidEndpoint
from ..texts import Text
from .base import OutgoingEvent, Rendered, Target
from .standard import StandardSigned, iso_milliseconds

MAX_TEMPLATE_BYTES = 16 * 1024
MAX_TEMPLATE_DEPTH = 16
MAX_BODY_BYTES = 1024 * 1024
#: The maximum number of different placeholders; each may be repeated.
MAX_PLACEHOLDERS = 200
#: How often the data may be serialised in vain, to find out that a part does not fit.
_WASTED_WRITES: Final = 4

_PLACEHOLDER = re.compile(r"\{\{\s*([\w-]+(?:\.[\w-]+)*)\s*\}\}")
#: Of an item in a list. Longer numbers are none that a list reaches, and Python refuses to read some.
_POSITION: Final = re.compile("0|[1-9][0-9]{0,8}")
_NOTHING: Final = object()

#: Placeholders in addition to ``data`` and its members.
_VALUES: Final[Mapping[str, Callable[[OutgoingEvent, Target], Any]]] = {
    "event.id": lambda event, target: event.id,
    "event.type": lambda event, target: event.type,
    "event.timestamp": lambda event, target: iso_milliseconds(event.occurred_at),
    "event.unix": lambda event, target: int(event.occurred_at.timestamp()),
    "tenant.id": lambda event, target: event.tenant,
    "tenant.name": lambda event, target: event.tenant_name or event.tenant,
    "product.name": lambda event, target: target.product_name,
}


class Custom(StandardSigned):
    """A body from the option ``template``: JSON, or its text."""

    name = "custom"
    label = "Custom JSON"
    example_options = {  # noqa: RUF012
        "template": json.dumps(
            {
                "kind": "{{ event.type }}",
                "at": "{{ event.timestamp }}",
                "summary": "{{ product.name }}: {{ event.type }} for {{ tenant.name }}",
                "details": "{{ data }}",
            },
            indent=2,
        )
    }

    def check_options(self, options: Mapping[str, Any], url: str) -> dict[str, Any]:
        given = options.get("template")
        super().check_options({k: v for k, v in options.items() if k != "template"}, url)
        if given is None or given == "":
            raise InvalidEndpoint(
                'Write a template: JSON such as {"kind": "{{ event.type }}", "details": "{{ data }}"}.',
                field="template",
            )
        return {"template": check_template(given)}

    def render(self, event: OutgoingEvent, target: Target, attempted_at: datetime) -> Rendered:
        template = target.options["template"]
        room = MAX_BODY_BYTES - _written_size(template)
        body = _compact(_Filler(event, target, room).fill(_parsed(template)))
        headers = self.signature_headers(event, target, body, attempted_at)
        return Rendered(url=target.url, headers=headers, body=body)


def check_template(given: Any) -> str:
    """Check a template; return its JSON text for storage.

    :param given: the text, or its JSON value.
    :raises InvalidEndpoint: it is not JSON, too large or too deep, or has an invalid placeholder.
    """
    try:
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, indent=2)
        size = len(text.encode())
        value = _parsed(text) if size <= MAX_TEMPLATE_BYTES else None
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise _refusal(
            "It contains half of a surrogate pair, which UTF-8 cannot represent."
        ) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise _refusal(
            'It is not JSON (%(error)s). Put placeholders in quotes, like {"details": "{{ data }}"}.',
            error=str(error),
        ) from None
    if size > MAX_TEMPLATE_BYTES:
        raise _refusal(
            "Shorten it to %(most)s bytes; it has %(size)s.",
            most=f"{MAX_TEMPLATE_BYTES:,}",
            size=f"{size:,}",
        )
    paths: set[str] = set()
    _check(value, 1, paths)
    if len(paths) > MAX_PLACEHOLDERS:
        raise _refusal(
            "Use at most %(most)s different values; it uses %(count)s.",
            most=MAX_PLACEHOLDERS,
            count=len(paths),
        )
    return text.strip()


def _check(value: Any, depth: int, paths: set[str]) -> None:
    if depth > MAX_TEMPLATE_DEPTH:
        raise _refusal("It is nested more than %(most)s deep.", most=MAX_TEMPLATE_DEPTH)
    if isinstance(value, dict):
        for key, item in value.items():
            if "{{" in key:
                raise _refusal(
                    "Placeholders can only be used in values, not in the names of members."
                )
            _check(item, depth + 1, paths)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1, paths)
    elif isinstance(value, str):
        _check_text(value, paths)


def _check_text(text: str, paths: set[str]) -> None:
    for match in _PLACEHOLDER.finditer(text):
        path = match[1]
        if path not in _VALUES and path.partition(".")[0] != "data":
            known = ", ".join((*_VALUES, "data", "data.license_id"))
            raise _refusal(
                "There is no {{ %(name)s }}. Use names such as %(known)s.",
                name=path[:100],
                known=known,
            )
        paths.add(path)
    if "{{" in _PLACEHOLDER.sub("", text):
        raise _refusal(
            "Write placeholders as {{ event.type }} or {{ data.license_id }}: names joined by dots, of letters, "
            "digits, underscores and hyphens."
        )


def _refusal(template: str, /, **values: object) -> InvalidEndpoint:
    why = Text(template, **values)
    return InvalidEndpoint("The template cannot be used. %(why)s", why=why, field="template")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON has no {name}")


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant)


@lru_cache(maxsize=256)
def _written_size(text: str) -> int:
    """Bytes of a template as it is written with nothing filled in: of ``1e15`` as 1000000000000000.0."""
    return len(_compact(_parsed(text)))


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class _Filler:
    """Fills in one template for one event."""

    event: OutgoingEvent
    target: Target
    #: Bytes that substituted values may still take. What does not fit is left out.
    room: float
    #: Values by path, with their size as JSON: a template may name a large one a thousand times.
    _found: dict[str, tuple[Any, float]] = field(default_factory=dict)
    #: Characters that may still be written in vain. A template may name a value, what is in it, and so on.
    _waste: int = field(init=False)

    def __post_init__(self) -> None:
        self._waste = _WASTED_WRITES * len(self.event.data_json)

    def fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if not isinstance(value, str):
            return value
        alone = _PLACEHOLDER.fullmatch(value)
        if alone:
            return self._take(alone[1])
        return _PLACEHOLDER.sub(lambda match: _as_text(self._take(match[1])), value)

    def _take(self, path: str) -> Any:
        if path not in self._found:
            value = self._look_up(path)
            self._found[path] = value, self._size(value)
        value, size = self._found[path]
        if size > self.room:
            return None
        self.room -= size
        return value

    def _size(self, value: Any) -> float:
        """Bytes that a value takes at most; infinite where nothing more may be written to find out."""
        if self._waste < 0:
            return math.inf
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        # As text within a text, quotes and backslashes are escaped a second time.
        size = len(text.encode()) + text.count('"') + text.count("\\") + 2
        if size > self.room:
            self._waste -= len(text)
        return size

    def _look_up(self, path: str) -> Any:
        if path in _VALUES:
            return _VALUES[path](self.event, self.target)
        value = self.event.data
        for name in path.split(".")[1:]:
            if isinstance(value, dict):
                value = value.get(name, _NOTHING)
            elif isinstance(value, list) and _POSITION.fullmatch(name):
                position = int(name)
                value = value[position] if position < len(value) else _NOTHING
            else:
                return None
            if value is _NOTHING:
                return None
        return value


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
