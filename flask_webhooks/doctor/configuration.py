"""Settings that are valid but probably not intended."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from ..app_state import AppState
from .findings import Area, Finding

_AREA = Area("configuration")
#: Addresses that customers should not reach, with a description.
_DANGEROUS = {
    "127.0.0.1": "this machine itself",
    "::1": "this machine itself",
    "169.254.169.254": "the metadata service of a cloud, which hands out credentials",
    "168.63.129.16": "the metadata service of a cloud",
}


def examine_configuration(state: AppState) -> Iterator[Finding]:
    """Check the combination of settings, each of which `init_app` has checked."""
    settings, app = state.settings, state.app
    yield _AREA.ok(
        f"The settings are valid. Queue {settings.queue!r}, installation {settings.installation!r}."
    )
    if app.testing:
        yield _AREA.warning(
            "The application is in testing mode.",
            "Jobs in Redis expire after a minute, so deliveries wait for a sweep.",
            "Set TESTING = False for processes that deliver webhooks.",
        )
    if not settings.require_https:
        yield _AREA.warning(
            "Endpoints may have http:// URLs.",
            "Their data and signatures can be read in transit.",
            "Set WEBHOOKS_REQUIRE_HTTPS = True, or run the application without debug and testing mode.",
        )
    if settings.url_prefix is not None and state.hooks.authorize is None:
        yield _AREA.warning(
            "The application has not configured who may see its webhooks.",
            "Pages and API respond to every request with 403.",
            "Decorate a function (action, endpoint) -> bool with @webhooks.authorize.",
        )
    if settings.url_prefix is not None and not app.config.get("SECRET_KEY"):
        yield _AREA.warning(
            "SECRET_KEY is not set.",
            "The forms on the pages cannot work without a session.",
            "Set SECRET_KEY, or set WEBHOOKS_URL_PREFIX = None to turn the pages off.",
        )
    yield from _reachable(state)


def _reachable(state: AppState) -> Iterator[Finding]:
    policy = state.policy
    for text, what in _DANGEROUS.items():
        address = ip_address(text)
        allowed = [network for network in policy.allowed_networks if address in network]
        if allowed and policy.refusal(address) is None:
            yield _AREA.warning(
                f"Webhooks may be sent to {text}, {what}.",
                "Customers choose the URLs of endpoints and see the responses.",
                f"Remove {allowed[0]} from WEBHOOKS_ALLOWED_NETWORKS, or add {text} to WEBHOOKS_DENIED_NETWORKS. On a "
                "development machine it may stay.",
            )
