// AuthVaultix: the signature is the hex HMAC-SHA256 of the body.
const { createHmac } = require("node:crypto");

exports.accepts = (headers, body, secret) =>
  headers["x-webhook-signature"] === createHmac("sha256", secret).update(body).digest("hex");
