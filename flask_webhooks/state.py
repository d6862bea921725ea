"""Kept for scripts of hosts: `state_of` is in `flask_webhooks.app_state`."""

from .app_state import state_of as state_of
