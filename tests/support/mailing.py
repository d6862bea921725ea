"""A real SMTP server on loopback, and a host that tells owners of endpoints by mail, as the documentation says."""

from __future__ import annotations

import email
import email.policy
import time
from email.message import EmailMessage
from types import TracebackType

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from flask import Flask

from demo.services import free_port
from flask_webhooks import Webhooks
from tests.support.processes import ROOT


class MailServer:
    """Takes mail; use it as a context manager.

    :ivar answers: what it answers to the next recipients instead of taking them, such as ``550 No such user``.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    def __enter__(self) -> MailServer:
        self._controller.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._controller.stop()

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]

    def wait_for(self, count: int, seconds: float = 20.0) -> list[EmailMessage]:
        deadline = time.monotonic() + seconds
        while len(self.mails) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(self.mails) >= count, self.subjects()
        return self.mails

    # -- what aiosmtpd calls ---------------------------------------------------------------------------

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


def tell_owners_by_mail(app: Flask, webhooks: Webhooks) -> None:
    """Register the function of ``docs/how-to/owner-notifications.md``, as it stands there."""
    app.config.setdefault("MAIL_SERVER", "127.0.0.1")
    app.config.setdefault("MAIL_TIMEOUT", 5)
    app.config.setdefault("MAIL_DEFAULT_SENDER", "webhooks@licences.example")
    page = (ROOT / "docs" / "how-to" / "owner-notifications.md").read_text()
    _, _, recipe, *_ = page.split("```python\n")
    exec(recipe.partition("```")[0], {"app": app, "webhooks": webhooks})
