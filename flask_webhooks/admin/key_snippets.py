"""Code with which a customer verifies signatures by a public key (ed25519, ``v1a``)."""

from __future__ import annotations

KEY_PYTHON = """\
# pip install flask cryptography
import base64
import json
import os
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flask import Flask, request

app = Flask(__name__)
public_key = os.environ["WEBHOOK_PUBLIC_KEY"].removeprefix("whpk_")
key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))


def verified(headers, body):
    timestamp = headers.get("webhook-timestamp", "")
    # Five minutes, against replayed requests.
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > 300:
        return False
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + body
    for signature in headers.get("webhook-signature", "").split():
        version, _, value = signature.partition(",")
        if version == "v1a":
            try:
                key.verify(base64.b64decode(value), signed)
                return True
            except (InvalidSignature, ValueError):
                pass
    return False


@app.post("/webhooks")
def receive():
    # The raw body: JSON that was parsed and written again has another signature.
    body = request.get_data()
    if not verified(request.headers, body):
        return "", 401
    event = json.loads(body)
    # webhook-id is the same on every retry: skip what you have seen.
    print(request.headers["webhook-id"], event["type"], event["data"])
    return "", 204
"""

KEY_NODE = """\
// npm install express
const crypto = require("node:crypto");
const express = require("express");

const raw = Buffer.from(process.env.WEBHOOK_PUBLIC_KEY.replace(/^whpk_/, ""), "base64");
const key = crypto.createPublicKey({
  key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") },
  format: "jwk",
});
const app = express();

function verified(headers, body) {
  const id = headers["webhook-id"] || "";
  const timestamp = headers["webhook-timestamp"] || "";
  const age = Math.abs(Date.now() / 1000 - Number(timestamp));
  if (!(age < 300)) return false; // five minutes, against replayed requests
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  return (headers["webhook-signature"] || "").split(" ").some((signature) => {
    const [version, value] = signature.split(",");
    return version === "v1a" && crypto.verify(null, signed, key, Buffer.from(value || "", "base64"));
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
