"""Serve the Flask application that a page shows; its code comes on standard input.

What the page takes for granted is there: `os`, and its secret in the environment.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from flask import Flask, Response
from werkzeug.serving import make_server

if __name__ == "__main__":
    names: dict[str, Any] = {"__name__": "page", "os": os}
    exec(compile(sys.stdin.read(), "page", "exec"), names)
    app: Flask = names["app"]

    @app.after_request
    def tell(response: Response) -> Response:
        # In one piece: others may write at the same time.
        print(json.dumps({"status": response.status_code}) + "\n", end="", flush=True)
        return response

    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(json.dumps({"port": server.port}), flush=True)
    server.serve_forever()
