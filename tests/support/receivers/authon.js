// Authon: the secret itself is in a header; the event is in the body, and in a header as well.
const assert = require("node:assert");

exports.accepts = (headers, body, secret) => {
  if (headers["x-webhook-secret"] !== secret) return false;
  const message = JSON.parse(body);
  assert.strictEqual(message.event, headers["x-webhook-event"]);
  assert.strictEqual(typeof message.data, "object");
  return true;
};
