"""The extensions, made once and set up for each application by `create_app`."""

from __future__ import annotations

from flask_webhooks import Webhooks

from .models import db

webhooks = Webhooks(db)
