"""Settings of gunicorn: ``gunicorn --config example_app/deploy/gunicorn.conf.py``."""

import os

wsgi_app = "example_app.app:create_app()"
# Only for nginx on this machine.
bind = os.environ.get("GUNICORN_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("GUNICORN_WORKERS", "2"))
# A request waits for the database most of its time.
threads = 8
# Restart a worker process from time to time, not all at once.
max_requests = 10_000
max_requests_jitter = 1_000
# Longer than any request takes; systemd waits a little longer.
graceful_timeout = 20
# The journal takes both.
accesslog = "-"
errorlog = "-"
