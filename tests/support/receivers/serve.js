// Serve one of the receivers beside this file: `node serve.js authon`, its secret in WEBHOOK_SECRET.
const http = require("node:http");
const path = require("node:path");

const { accepts } = require(path.join(__dirname, `${process.argv[2]}.js`));

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const body = Buffer.concat(pieces);
    const accepted = accepts(request.headers, body, process.env.WEBHOOK_SECRET);
    const status = accepted ? 200 : 401;
    const event = accepted ? JSON.parse(body).event : null;
    console.log(JSON.stringify({ status, event }));
    response.writeHead(status, { "content-length": 0 }).end();
  });
});

server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
