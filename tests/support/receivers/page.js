// Serve the code that a page shows; it comes on standard input. What the page takes for granted is there: an
// `app` as Express makes it, which parses JSON where a route does not ask for the raw body, and its secret in
// the environment.
const fs = require("node:fs");
const http = require("node:http");

const routes = new Map();
const app = { post: (path, ...handlers) => routes.set(path, handlers) };
const express = { raw: () => (request, response, next) => ((request.body = request.rawBody), next()) };

function parseJson(request, response, next) {
  request.body = JSON.parse(request.rawBody);
  next();
}

function decorate(response) {
  response.status = (status) => ((response.statusCode = status), response);
  response.send = (text) => response.end(text);
  response.json = (value) => response.setHeader("content-type", "application/json").end(JSON.stringify(value));
  response.sendStatus = (status) => response.status(status).end(http.STATUS_CODES[status]);
}

async function answer(request, response) {
  const handlers = routes.get(request.url);
  const chain = handlers.length > 1 ? [...handlers] : [parseJson, ...handlers];
  const next = () => chain.shift()(request, response, next);
  await next();
}

new Function("require", "app", "express", fs.readFileSync(0, "utf8"))(require, app, express);

const server = http.createServer((request, response) => {
  const pieces = [];
  decorate(response);
  response.on("finish", () => console.log(JSON.stringify({ status: response.statusCode })));
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    request.rawBody = Buffer.concat(pieces);
    answer(request, response).catch((error) => {
      console.error(error);
      response.sendStatus(500);
    });
  });
});

server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
