"""Sample code with which a customer verifies signatures. Tests run each snippet against a real request.

The code is in ``templates/flask_webhooks/snippets``: one template for each language and signature scheme.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

#: Not the application's environment, which may have other delimiters and escaping.
_environment = Environment(
    loader=PackageLoader("flask_webhooks.admin", "templates/flask_webhooks/snippets"),
    keep_trailing_newline=True,
    undefined=StrictUndefined,
    autoescape=False,
)
#: The title of a snippet by the suffix of its template.
_TITLES = {"py": "Python (Flask)", "js": "Node (Express)", "sh": "curl"}

#: The templates of each format, and their variables.
_BY_FORMAT: dict[str, tuple[str, dict[str, object]]] = {
    "standard": ("shared_secret", {"any_shape": False}),
    # They have the same signature and members.
    "cloudevents": ("shared_secret", {"any_shape": False}),
    "custom": ("shared_secret", {"any_shape": True}),
    "aureva": ("body_signature", {"header": "X-Webhook-Signature", "prefix": ""}),
    "authvaultix": ("body_signature", {"header": "X-Webhook-Signature", "prefix": ""}),
    "akuworks": ("body_signature", {"header": "X-Webhook-Signature", "prefix": "sha256="}),
    "authforge": ("body_signature", {"header": "X-AuthForge-Signature", "prefix": ""}),
    # HTTPS protects the secret; nothing detects a changed body.
    "authon": ("secret_header", {}),
}


@dataclass(frozen=True, slots=True)
class Snippet:
    """Code to copy."""

    title: str
    code: str


@cache
def snippets(format_name: str) -> tuple[Snippet, ...]:
    """Return the snippets for a format, if any."""
    if format_name not in _BY_FORMAT:
        return ()
    template, values = _BY_FORMAT[format_name]
    return tuple(_render(template, language, values) for language in _TITLES)


@cache
def key_snippets(format_name: str) -> tuple[Snippet, ...]:
    """Return the snippets for an endpoint with a key pair.

    None of them sends a request, because only the server can sign.
    """
    values: dict[str, object] = {"any_shape": format_name == "custom"}
    return tuple(_render("key_pair", language, values) for language in ("py", "js"))


def _render(template: str, language: str, values: dict[str, object]) -> Snippet:
    code = _environment.get_template(f"{template}.{language}.jinja").render(values)
    return Snippet(_TITLES[language], code)
