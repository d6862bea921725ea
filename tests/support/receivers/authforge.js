// AuthForge: the hex HMAC-SHA256 of the raw body; the licence key and the headers are then read.
const assert = require("node:assert");
const { createHmac } = require("node:crypto");

exports.accepts = (headers, body, secret) => {
  const wanted = createHmac("sha256", secret).update(body).digest("hex");
  if (headers["x-authforge-signature"] !== wanted) return false;
  const message = JSON.parse(body);
  assert(message.data.licenseKey);
  assert.strictEqual(message.event, headers["x-authforge-event"]);
  assert.strictEqual(message.timestamp, headers["x-authforge-timestamp"]);
  return true;
};
