"""What the signature debugger found, in the words that people read."""

from __future__ import annotations

from ..security.signature_check import SECRET_HEADER, SignatureFinding, Verdict
from .display import count
from .i18n import gettext as _
from .wording import Status


def finding_status(verdict: Verdict) -> Status:
    """The verdict in a few words."""
    match verdict.finding:
        case SignatureFinding.FITS:
            return Status(_("The signature fits"), "ok", "check")
        case SignatureFinding.FITS_BUT_FOR_LINE_BREAKS:
            return Status(_("It fits but for a line break"), "warn", "alert")
        case SignatureFinding.SECRET_FITS:
            return Status(_("The secret fits"), "ok", "check")
        case SignatureFinding.NO_SIGNATURE:
            return Status(_("No signature"), "bad", "cross")
        case SignatureFinding.MISSING_HEADER:
            return Status(_("A header is missing"), "bad", "cross")
        case SignatureFinding.MALFORMED:
            return Status(_("The header is no signature"), "bad", "cross")
        case SignatureFinding.WRONG_SECRET:
            return Status(_("Wrong secret"), "bad", "cross")
        case SignatureFinding.NO_SECRET:
            return Status(_("No secret"), "bad", "cross")
        case SignatureFinding.REWRITTEN_BODY:
            return Status(_("The body was written anew"), "bad", "cross")
        case SignatureFinding.CUT_BODY:
            return Status(_("The body was cut"), "bad", "cross")
        case SignatureFinding.CHANGED_BODY:
            return Status(_("The body was changed"), "bad", "cross")
        case SignatureFinding.CHANGED_HEADERS:
            return Status(_("Id or time were changed"), "bad", "cross")


def finding_text(verdict: Verdict) -> str:
    """What that means."""
    header = verdict.header or ""
    match verdict.finding:
        case SignatureFinding.FITS:
            return _("This request was signed with this webhook's secret, and nothing was changed.")
        case SignatureFinding.FITS_BUT_FOR_LINE_BREAKS:
            return _(
                "The signature fits once a line break at the end of the body is taken away or added."
            )
        case SignatureFinding.SECRET_FITS:
            return _(
                "The header %(header)s holds this webhook's secret. Nothing is signed in this format, so it does not "
                "tell whether the body is the one that was sent.",
                header=header,
            )
        case SignatureFinding.NO_SIGNATURE:
            return _(
                "None of the headers is a signature. Look whether a proxy in front of the receiver drops headers, "
                "and whether all of them were pasted."
            )
        case SignatureFinding.MISSING_HEADER:
            return _(
                "The header %(header)s goes into the signature, and it is not there.", header=header
            )
        case SignatureFinding.MALFORMED:
            return _(
                "The header %(header)s does not hold a signature of a kind that we send. Paste it whole.",
                header=header,
            )
        case SignatureFinding.WRONG_SECRET if header == SECRET_HEADER:
            return _(
                "The header %(header)s holds another secret than this webhook's.", header=header
            )
        case SignatureFinding.WRONG_SECRET:
            return _("The signature was made with another secret than this webhook's.")
        case SignatureFinding.NO_SECRET:
            return _("This webhook has no secret, so its requests carry no signature.")
        case SignatureFinding.REWRITTEN_BODY:
            return _(
                "The signature fits the body that we sent. Yours holds the same JSON, but in other bytes: it was "
                "parsed and written again."
            )
        case SignatureFinding.CUT_BODY:
            return _(
                "The signature fits the body that we sent. Yours is only its beginning: %(size)s of %(whole)s bytes.",
                size=count(verdict.body_size),
                whole=count(verdict.sent_size or 0),
            )
        case SignatureFinding.CHANGED_BODY:
            return _(
                "The signature fits the body that we sent, but not this one: its content is another."
            )
        case SignatureFinding.CHANGED_HEADERS:
            return _(
                "The body is the one that we sent, but no attempt was made at the time that the headers say. "
                "Paste the headers of one and the same request."
            )


def finding_advice(verdict: Verdict) -> list[str]:
    """What to do about it, one sentence or two each."""
    found = []
    match verdict.finding:
        case SignatureFinding.REWRITTEN_BODY | SignatureFinding.FITS_BUT_FOR_LINE_BREAKS:
            found.append(
                _(
                    "Verify the raw bytes before any parser sees them: request.get_data() in Flask, "
                    "express.raw() in Express, file_get_contents('php://input') in PHP."
                )
            )
        case SignatureFinding.CUT_BODY:
            found.append(
                _("Read the body to its end, and raise the body size limit of server and proxy.")
            )
        case SignatureFinding.CHANGED_BODY:
            found.append(
                _(
                    "Look for a proxy or middleware that changes bodies, and that headers and body are of one request."
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
            _("It fits an older secret. Give the receiver the current one before the overlap ends.")
        )
    if verdict.unreadable_time:
        found.append(_("The time of the signature is not a Unix time in seconds."))
    elif verdict.stale and verdict.age is not None:
        found.append(
            _(
                "The time of the signature is more than five minutes from now, so a receiver refuses the request "
                "by now. That is as it should be if it came then; if not, set the receiver's clock."
            )
        )
    return found
