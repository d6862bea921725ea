"""Serve one of the receivers beside this file: ``python serve.py authon``, its secret in WEBHOOK_SECRET."""

from __future__ import annotations

import importlib
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        accepted = receiver.accepts(self.headers, body, os.environ["WEBHOOK_SECRET"])
        status = 200 if accepted else 401
        event = json.loads(body)["event"] if accepted else None
        # In one piece: others may write at the same time.
        print(json.dumps({"status": status, "event": event}) + "\n", end="", flush=True)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))
    receiver = importlib.import_module(f"tests.support.receivers.{sys.argv[1]}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()
