"""Code with which a customer verifies signatures. A test runs each against a real request.

The code is in ``templates/flask_webhooks/snippets``: one template for each language and way of signing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

#: Not the application's: that may have other delimiters, and escapes as it likes.
_environment = Environment(
    loader=PackageLoader("flask_webhooks.admin", "templates/flask_webhooks/snippets"),
    keep_trailing_newline=True,
    undefined=StrictUndefined,
    autoescape=False,
)
#: What a snippet is called, by the ending of its template.
_TITLES = {"py": "Python (Flask)", "js": "Node (Express)", "sh": "curl"}

#: The templates of each format, and what they are told.
_BY_FORMAT: dict[str, tuple[str, dict[str, object]]] = {
    "standard": ("shared_secret", {"any_shape": False}),
    # Signed alike, and with the same members.
    "cloudevents": ("shared_secret", {"any_shape": False}),
    "custom": ("shared_secret", {"any_shape": True}),
    "aureva": ("body_signature", {"header": "X-Webhook-Signature", "prefix": ""}),
    "authvaultix": ("body_signature", {"header": "X-Webhook-Signature", "prefix": ""}),
    "akuworks": ("body_signature", {"header": "X-Webhook-Signature", "prefix": "sha256="}),
    "authforge": ("body_signature", {"header": "X-AuthForge-Signature", "prefix": ""}),
    # HTTPS keeps the secret from others; nothing tells that a body was changed.
    "authon": ("secret_header", {}),
}


@dataclass(frozen=True, slots=True)
class Snippet:
    """Code to copy."""

    title: str
    code: str


@cache
def snippets(format_name: str) -> tuple[Snippet, ...]:
    """Return the snippets for a format; none where there are none."""
    if format_name not in _BY_FORMAT:
        return ()
    template, values = _BY_FORMAT[format_name]
    return tuple(_render(template, language, values) for language in _TITLES)


@cache
def key_snippets(format_name: str) -> tuple[Snippet, ...]:
    """Return those for an endpoint with a key pair. None sends a request: only we can sign."""
    values: dict[str, object] = {"any_shape": format_name == "custom"}
    return tuple(_render("key_pair", language, values) for language in ("py", "js"))


def _render(template: str, language: str, values: dict[str, object]) -> Snippet:
    code = _environment.get_template(f"{template}.{language}.jinja").render(values)
    return Snippet(_TITLES[language], code)
