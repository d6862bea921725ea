"""Code with which a customer verifies signatures. A test runs each against a real request."""

from __future__ import annotations

from dataclasses import dataclass

from .key_snippets import KEY_NODE, KEY_PYTHON

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


#: Of the formats whose signature is the hex HMAC of the body. HEADER and PREFIX stand for what differs.
BODY_PYTHON = """\
# pip install flask
import hashlib
import hmac
import os

from flask import Flask, request

app = Flask(__name__)
secret = os.environ["WEBHOOK_SECRET"].encode()


@app.post("/webhooks")
def receive():
    # The raw body: JSON that was parsed and written again has another signature.
    wanted = "PREFIX" + hmac.new(secret, request.get_data(), hashlib.sha256).hexdigest()
    given = request.headers.get("HEADER", "")
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        return "", 401
    print(request.get_json())
    return "", 204
"""

BODY_NODE = """\
// npm install express
const crypto = require("node:crypto");
const express = require("express");

const app = express();

function verified(headers, body) {
  const wanted = "PREFIX" + crypto.createHmac("sha256", process.env.WEBHOOK_SECRET).update(body).digest("hex");
  const given = Buffer.from(headers["HEADER"] || "");
  return given.length === wanted.length && crypto.timingSafeEqual(given, Buffer.from(wanted));
}

// express.raw keeps the body as it was sent: JSON written anew has another signature.
app.post("/webhooks", express.raw({ type: "*/*" }), (request, response) => {
  if (!verified(request.headers, request.body)) return response.sendStatus(401);
  console.log(JSON.parse(request.body));
  response.sendStatus(204);
});

app.listen(process.env.PORT || 3000);
"""

BODY_CURL = """\
# Sends a signed request to your own server, to try it without us.
url=http://localhost:3000/webhooks
body='{"event":"test"}'
signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$WEBHOOK_SECRET" -r | cut -d' ' -f1)
curl -i "$url" -H 'Content-Type: application/json' -H "HEADER: PREFIX$signature" --data-raw "$body"
"""

#: Of the format that sends the secret itself. HTTPS keeps it from others; nothing tells that a body was changed.
HEADER_PYTHON = """\
# pip install flask
import hmac
import os

from flask import Flask, request

app = Flask(__name__)
secret = os.environ["WEBHOOK_SECRET"].encode()


@app.post("/webhooks")
def receive():
    # The secret itself, so be reached by HTTPS only.
    given = request.headers.get("X-Webhook-Secret", "")
    if not hmac.compare_digest(secret, given.encode()):
        return "", 401
    print(request.get_json())
    return "", 204
"""

HEADER_NODE = """\
// npm install express
const crypto = require("node:crypto");
const express = require("express");

const secret = Buffer.from(process.env.WEBHOOK_SECRET);
const app = express();

app.post("/webhooks", express.raw({ type: "*/*" }), (request, response) => {
  // The secret itself, so be reached by HTTPS only.
  const given = Buffer.from(request.headers["x-webhook-secret"] || "");
  if (given.length !== secret.length || !crypto.timingSafeEqual(given, secret)) return response.sendStatus(401);
  console.log(JSON.parse(request.body));
  response.sendStatus(204);
});

app.listen(process.env.PORT || 3000);
"""

HEADER_CURL = """\
# Sends a request to your own server, to try it without us.
url=http://localhost:3000/webhooks
curl -i "$url" -H 'Content-Type: application/json' -H "X-Webhook-Secret: $WEBHOOK_SECRET" \\
  --data-raw '{"event":"test","timestamp":"2026-01-01T00:00:00.000Z","data":{"message":"Hello"}}'
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    """Code to copy."""

    title: str
    code: str


_PYTHON_TITLE, _NODE_TITLE = "Python (Flask)", "Node (Express)"


def _titled(python: str, node: str, curl: str) -> tuple[Snippet, ...]:
    return (
        Snippet(_PYTHON_TITLE, python),
        Snippet(_NODE_TITLE, node),
        Snippet("curl", curl),
    )


def _over_body(header: str, prefix: str = "") -> tuple[Snippet, ...]:
    """For a format that signs the body alone, in this header."""
    python, curl = (
        code.replace("HEADER", header).replace("PREFIX", prefix)
        for code in (BODY_PYTHON, BODY_CURL)
    )
    node = BODY_NODE.replace("HEADER", header.lower()).replace("PREFIX", prefix)
    return _titled(python.replace('"" + ', ""), node.replace('"" + ', ""), curl)


_STANDARD = _titled(PYTHON, NODE, CURL)


def _any_shape(python: str, node: str) -> tuple[str, str]:
    """The same for a body of the customer's own shape."""
    return (
        python.replace('event["type"], event["data"]', "event"),
        node.replace("event.type, event.data", "event"),
    )


_CUSTOM = _titled(*_any_shape(PYTHON, NODE), CURL)
_BY_FORMAT = {
    "standard": _STANDARD,
    # Signed alike, and with the same members.
    "cloudevents": _STANDARD,
    "custom": _CUSTOM,
    "aureva": _over_body("X-Webhook-Signature"),
    "authvaultix": _over_body("X-Webhook-Signature"),
    "akuworks": _over_body("X-Webhook-Signature", "sha256="),
    "authforge": _over_body("X-AuthForge-Signature"),
    "authon": _titled(HEADER_PYTHON, HEADER_NODE, HEADER_CURL),
}


def snippets(format_name: str) -> tuple[Snippet, ...]:
    """The snippets for a format; none where we have none."""
    return _BY_FORMAT.get(format_name, ())


def key_snippets(format_name: str) -> tuple[Snippet, ...]:
    """Those for an endpoint with a key pair. None sends a request: only we can sign."""
    codes = KEY_PYTHON, KEY_NODE
    python, node = _any_shape(*codes) if format_name == "custom" else codes
    return Snippet(_PYTHON_TITLE, python), Snippet(_NODE_TITLE, node)
