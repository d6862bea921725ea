// Aureva: an optional secret; the signature is the hex HMAC-SHA256 of the body.
const { createHmac, timingSafeEqual } = require("node:crypto");

exports.accepts = (headers, body, secret) => {
  if (!secret) return true;
  const given = Buffer.from(headers["x-webhook-signature"] || "", "hex");
  const wanted = createHmac("sha256", secret).update(body.toString("utf8")).digest();
  return given.length === wanted.length && timingSafeEqual(given, wanted);
};
