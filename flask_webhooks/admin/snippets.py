"""Code with which a customer verifies signatures. A test runs each against a real signature."""

from __future__ import annotations

from dataclasses import dataclass

PYTHON = """\
# pip install flask standardwebhooks
import os

from flask import Flask, request
from standardwebhooks import Webhook, WebhookVerificationError

app = Flask(__name__)
webhook = Webhook(os.environ["WEBHOOK_SECRET"])


@app.post("/webhooks")
def receive():
    try:
        # The raw body: JSON that was parsed and written again has another signature.
        event = webhook.verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError:
        return "", 401
    # webhook-id is the same on every retry: skip what you have seen.
    print(request.headers["webhook-id"], event["type"], event["data"])
    return "", 204
"""

NODE = """\
// npm install express
const crypto = require("node:crypto");
const express = require("express");

const key = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const app = express();

function verified(headers, body) {
  const id = headers["webhook-id"] || "";
  const timestamp = headers["webhook-timestamp"] || "";
  const age = Math.abs(Date.now() / 1000 - Number(timestamp));
  if (!(age < 300)) return false; // five minutes, against replayed requests
  const wanted = crypto.createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  return (headers["webhook-signature"] || "").split(" ").some((signature) => {
    const [version, value] = signature.split(",");
    const given = Buffer.from(value || "", "base64");
    return version === "v1" && given.length === wanted.length && crypto.timingSafeEqual(given, wanted);
  });
}

// express.raw keeps the body as it was sent: JSON written anew has another signature.
app.post("/webhooks", express.raw({ type: "*/*" }), (request, response) => {
  if (!verified(request.headers, request.body)) return response.sendStatus(401);
  const event = JSON.parse(request.body);
  // webhook-id is the same on every retry: skip what you have seen.
  console.log(request.headers["webhook-id"], event.type, event.data);
  response.sendStatus(204);
});

app.listen(process.env.PORT || 3000);
"""

CURL = """\
# Sends a signed request to your own server, to try it without us.
url=http://localhost:3000/webhooks
id=evt_try
now=$(date +%s)
body='{"type":"test","timestamp":"2026-01-01T00:00:00.000Z","data":{"message":"Hello"}}'
key=$(printf %s "${WEBHOOK_SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n')
signature=$(printf %s "$id.$now.$body" |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
curl -i "$url" -H 'Content-Type: application/json' \\
  -H "webhook-id: $id" -H "webhook-timestamp: $now" -H "webhook-signature: v1,$signature" \\
  --data-raw "$body"
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    """Code to copy."""

    title: str
    code: str


_STANDARD = (
    Snippet("Python (Flask)", PYTHON),
    Snippet("Node (Express)", NODE),
    Snippet("curl", CURL),
)
#: CloudEvents are signed alike, and have the same members.
_BY_FORMAT = {"standard": _STANDARD, "cloudevents": _STANDARD}


def snippets(format_name: str) -> tuple[Snippet, ...]:
    """The snippets for a format; none where we have none."""
    return _BY_FORMAT.get(format_name, ())
