"""Texts for the findings of the signature debugger."""

from __future__ import annotations

from ..security.signature_check import SECRET_HEADER, SignatureFinding, Verdict
from .display import count
from .i18n import gettext as _
from .wording import Status


def finding_status(verdict: Verdict) -> Status:
    """Return the verdict in a few words."""
    match verdict.finding:
        case SignatureFinding.FITS:
            return Status(_("The signature matches"), "ok", "check")
        case SignatureFinding.FITS_BUT_FOR_LINE_BREAKS:
            return Status(_("It matches except for a line break"), "warn", "alert")
        case SignatureFinding.SECRET_FITS:
            return Status(_("The secret matches"), "ok", "check")
        case SignatureFinding.NO_SIGNATURE:
            return Status(_("No signature"), "bad", "cross")
        case SignatureFinding.MISSING_HEADER:
            return Status(_("A header is missing"), "bad", "cross")
        case SignatureFinding.MALFORMED:
            return Status(_("The header is not a signature"), "bad", "cross")
        case SignatureFinding.WRONG_SECRET:
            return Status(_("Wrong secret"), "bad", "cross")
        case SignatureFinding.NO_SECRET:
            return Status(_("No secret"), "bad", "cross")
        case SignatureFinding.REWRITTEN_BODY:
            return Status(_("The body was re-serialised"), "bad", "cross")
        case SignatureFinding.CUT_BODY:
            return Status(_("The body was truncated"), "bad", "cross")
        case SignatureFinding.CHANGED_BODY:
            return Status(_("The body was changed"), "bad", "cross")
        case SignatureFinding.CHANGED_HEADERS:
            return Status(_("The id or the time was changed"), "bad", "cross")


def finding_text(verdict: Verdict) -> str:
    """Return the meaning of the verdict."""
    header = verdict.header or ""
    match verdict.finding:
        case SignatureFinding.FITS:
            return _("This request was signed with this webhook's secret, and nothing was changed.")
        case SignatureFinding.FITS_BUT_FOR_LINE_BREAKS:
            return _(
                "The signature matches once a line break at the end of the body is removed or added."
            )
        case SignatureFinding.SECRET_FITS:
            return _(
                "The header %(header)s contains this webhook's secret. This format signs nothing, so it cannot show "
                "whether the body is the one that was sent.",
                header=header,
            )
        case SignatureFinding.NO_SIGNATURE:
            return _(
                "None of the headers is a signature. Check whether a proxy in front of the receiver drops headers, "
                "and whether you pasted all of them."
            )
        case SignatureFinding.MISSING_HEADER:
            return _(
                "The header %(header)s is part of the signature, and it is missing.", header=header
            )
        case SignatureFinding.MALFORMED:
            return _(
                "The header %(header)s does not contain a signature in a form that we send. Paste all of it.",
                header=header,
            )
        case SignatureFinding.WRONG_SECRET if header == SECRET_HEADER:
            return _(
                "The header %(header)s contains a different secret from this webhook's.",
                header=header,
            )
        case SignatureFinding.WRONG_SECRET:
            return _("The signature was made with a different secret from this webhook's.")
        case SignatureFinding.NO_SECRET:
            return _("This webhook has no secret, so its requests carry no signature.")
        case SignatureFinding.REWRITTEN_BODY:
            return _(
                "The signature matches the body that we sent. Yours contains the same JSON in different bytes: it was "
                "parsed and re-serialised."
            )
        case SignatureFinding.CUT_BODY:
            return _(
                "The signature matches the body that we sent. Yours is only its beginning: %(size)s of %(whole)s "
                "bytes.",
                size=count(verdict.body_size),
                whole=count(verdict.sent_size or 0),
            )
        case SignatureFinding.CHANGED_BODY:
            return _(
                "The signature matches the body that we sent, but not this one: its content is different."
            )
        case SignatureFinding.CHANGED_HEADERS:
            return _(
                "The body is the one that we sent, but no attempt was made at the time given in the headers. Paste "
                "headers and body of the same request."
            )


def finding_advice(verdict: Verdict) -> list[str]:
    """Return what to do about it."""
    found = []
    match verdict.finding:
        case SignatureFinding.REWRITTEN_BODY | SignatureFinding.FITS_BUT_FOR_LINE_BREAKS:
            found.append(
                _(
                    "Verify the raw bytes before they are parsed: request.get_data() in Flask, express.raw() in "
                    "Express, file_get_contents('php://input') in PHP."
                )
            )
        case SignatureFinding.CUT_BODY:
            found.append(
                _("Read the whole body, and raise the body size limit of the server and the proxy.")
            )
        case SignatureFinding.CHANGED_BODY:
            found.append(
                _(
                    "Look for a proxy or middleware that changes bodies, and check that headers and body are from the "
                    "same request."
                )
            )
        case SignatureFinding.WRONG_SECRET:
            found.append(
                _(
                    "Compare the secret that the receiver uses with the one that was shown for this webhook: each "
                    "webhook has its own. If it is lost, rotate it."
                )
            )
    if verdict.secret:
        found.append(
            _(
                "It matches an older secret. Give the receiver the current one before the overlap ends."
            )
        )
    if verdict.unreadable_time:
        found.append(_("The time of the signature is not a Unix time in seconds."))
    elif verdict.stale and verdict.age is not None:
        found.append(
            _(
                "The time of the signature is more than five minutes from now, so a receiver would refuse the request "
                "now. That is expected if the request arrived back then; otherwise, set the receiver's clock."
            )
        )
    return found
