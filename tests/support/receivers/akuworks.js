// AkuWorks: `sha256=` and the hex HMAC-SHA256 of the raw body as UTF-8 text.
const { createHmac } = require("node:crypto");

exports.accepts = (headers, body, secret) => {
  const digest = createHmac("sha256", secret).update(body.toString("utf8"), "utf8").digest("hex");
  return headers["x-webhook-signature"] === "sha256=" + digest;
};
