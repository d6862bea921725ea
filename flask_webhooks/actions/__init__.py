"""The write side: every change that a person, the API, a command or the host's code can make.

Each function takes an `Access` first, checks it, makes its change in a short transaction of its own together
with a row in the audit log, and wakes the workers if something became due.
"""

from .bulk import start_task, stop_task
from .challenges import is_unverified, send_challenge
from .deliveries import cancel, resend, send_test
from .endpoints import (
    CreatedEndpoint,
    create_endpoint,
    delete_all_endpoints,
    delete_endpoint,
    draft_endpoint,
    update_endpoint,
)
from .erasure import erase
from .import_formats import possible_formats
from .imports import Imported, import_endpoints
from .portal_links import CreatedPortalLink, create_portal_link, revoke_portal_link
from .reencryption import Reencryption, reencrypt
from .scheduled import cancel_scheduled
from .secrets import Rotated, end_overlap, remove_secret, rotate, rotate_secret
from .settings import EndpointChanges, NewEndpoint
from .subscribing import subscribe_and_replay
from .switches import pause_endpoint, resume_endpoint
from .tokens import CreatedToken, create_token, revoke_token

__all__ = [
    "CreatedEndpoint",
    "CreatedPortalLink",
    "CreatedToken",
    "EndpointChanges",
    "Imported",
    "NewEndpoint",
    "Reencryption",
    "Rotated",
    "cancel",
    "cancel_scheduled",
    "create_endpoint",
    "create_portal_link",
    "create_token",
    "delete_all_endpoints",
    "delete_endpoint",
    "draft_endpoint",
    "end_overlap",
    "erase",
    "import_endpoints",
    "is_unverified",
    "pause_endpoint",
    "possible_formats",
    "reencrypt",
    "remove_secret",
    "resend",
    "resume_endpoint",
    "revoke_portal_link",
    "revoke_token",
    "rotate",
    "rotate_secret",
    "send_challenge",
    "send_test",
    "start_task",
    "stop_task",
    "subscribe_and_replay",
    "update_endpoint",
]
