"""A host's test suite on the Redis of its worker: what it leaves there goes by itself, and disturbs nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from rq import Queue

from flask_webhooks.testing import capture, deliver_now
from tests.support.delivering import close, emit, make_app, states, webhooks_of
from tests.support.processes import OURS, WorkerProcess, config_of, wait_until
from tests.support.receiver import Receiver

#: Longer than anything of ours is kept without use.
DAY = 86_400


def run_suite(directory: Path, redis_url: str, receiver: Receiver) -> None:
    """Three tests, each with a database of its own: events that nobody captures, captured ones, and deliveries."""
    for number in range(3):
        database = f"sqlite:///{directory / f'{number}.sqlite'}"
        app = make_app(database, redis_url, TESTING=True)
        with app.app_context():
            webhooks_of(app).create_endpoint(receiver.url("/ok/suite"))
            emit(app)
            with capture(webhooks_of(app)) as captured:
                emit(app)
            assert len(captured.events) == 1
            if number == 2:
                assert len(deliver_now(app)) == 2
        close(app)


@pytest.mark.slow
def test_suite_leaves_nothing_that_a_worker_stumbles_over(
    redis_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    app = make_app(f"sqlite:///{tmp_path / 'host.sqlite'}", redis_url)
    run_suite(tmp_path, redis_url, receiver)
    with redis.Redis.from_url(redis_url) as client, app.app_context():
        queue = Queue("webhooks", connection=client)
        assert queue.count == 3
        # The list of queues, and the queue, are RQ's; the worker takes what is in it.
        kept = {key.decode() for key in client.scan_iter() if not 0 < int(client.ttl(key)) <= DAY}
        assert kept == {"rq:queues", queue.key}
        # What a minute does to one of the jobs.
        client.delete(f"rq:job:{queue.job_ids[0]}")
        webhooks_of(app).create_endpoint(receiver.url("/ok/host"))
        with WorkerProcess(OURS, config_of(app), tmp_path / "log") as worker:
            emit(app)
            wait_until(lambda: states(app) == {"succeeded": 1}, what=worker.output)
            wait_until(lambda: queue.count == 0, what=worker.output)
            worker.terminate()
            worker.wait(20)
        assert not any(
            word in worker.output() for word in ("WARNING", "ERROR", "Traceback", "Dropped")
        ), worker.output()
        assert [request.path for request in receiver.requests].count("/ok/host") == 1
        # Nor does what the worker itself used stay, once it has gone.
        kept = {key.decode() for key in client.scan_iter("flask_webhooks:*") if client.ttl(key) < 0}
        assert kept == set()
    close(app)
