"""A host application, as scenarios use it: its own side in this process, its workers in others."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flask_webhooks.sqlite import READ_ONLY

from . import orphans, peer
from .bare import Sample
from .counting import Receiver
from .hostapp import VARIABLE, create_app, db, event_data, webhooks
from .results import Account
from .workers import LIMIT, BenchmarkError, Workers, running, wait_for

#: Headers that differ with the URL, or that the client writes by itself.
_BY_THE_CLIENT = {"host", "content-length", "connection"}


class Host:
    """A host application with an empty database and a Redis of its own; close it."""

    def __init__(
        self, receiver: Receiver, logs: Path, url: str, redis_url: str, config: dict[str, Any]
    ) -> None:
        self.receiver = receiver
        self.redis_url = redis_url
        self._logs = logs
        self._config = {
            "SQLALCHEMY_DATABASE_URI": url,
            "WEBHOOKS_REDIS_URL": redis_url,
            **config,
        }
        #: What workers have in their environment beside ours.
        self.environment: dict[str, str] = {}
        self.app = create_app(**self._config)
        self.models = webhooks.models
        with self.app.app_context():
            db.create_all()
            self.engine = db.engine
        peer.metadata.create_all(self.engine)

    @property
    def concurrency(self) -> int:
        """Requests that one worker keeps in flight."""
        return int(self.app.extensions["webhooks"].settings.concurrency)

    @property
    def queue(self) -> str:
        return str(self.app.extensions["webhooks"].settings.queue)

    def close(self) -> None:
        self.engine.dispose()

    def workers(self, count: int = 1) -> contextlib.AbstractContextManager[Workers]:
        """``rq worker -w flask_webhooks.Worker``, so many; ready to work."""
        return self._running(["-w", "flask_webhooks.Worker"], self.queue, count)

    def peer_worker(self) -> contextlib.AbstractContextManager[Workers]:
        """An ``rq worker`` for `benchmarks.peer`, ready to work."""
        arguments = ["-w", "benchmarks.peer.Preloaded", "--url", self.redis_url, peer.QUEUE]
        return self._running(arguments, peer.QUEUE, 1)

    def _running(
        self, arguments: list[str], queue: str, count: int
    ) -> contextlib.AbstractContextManager[Workers]:
        environment = {
            **{name: value for name, value in os.environ.items() if "REDIS" not in name},
            "FLASK_APP": "benchmarks.hostapp:create_app",
            VARIABLE: json.dumps(self._config),
            peer.VARIABLE: self._config["SQLALCHEMY_DATABASE_URI"],
            orphans.VARIABLE: str(os.getpid()),
            **self.environment,
        }
        return running(
            arguments, self.redis_url, queue, count=count, logs=self._logs, environment=environment
        )

    def add_endpoints(self, url: str, count: int, tenant: str = "app_1") -> list[str]:
        """Endpoints at `url`/0, `url`/1 … for all events of a tenant; returns their ids."""
        with self.app.app_context():
            return [self._add(f"{url}/{number}", tenant) for number in range(count)]

    def add_endpoint(self, url: str, tenant: str = "app_1", **options: Any) -> str:
        """An endpoint for all events of a tenant; returns its id.

        :param options: those of `Webhooks.create_endpoint`.
        """
        with self.app.app_context():
            return self._add(url, tenant, **options)

    def _add(self, url: str, tenant: str, **options: Any) -> str:
        made = webhooks.create_endpoint(url, ["license.*"], tenant=tenant, **options)
        return str(made.endpoint.id)

    def emit(self, events: int = 1, *tenants: str) -> None:
        """Emit so many events of each tenant, all in one transaction."""
        with self.app.app_context():
            for number in range(events):
                for tenant in tenants or ("app_1",):
                    webhooks.emit("license.created", event_data(number), tenant=tenant)
            db.session.commit()

    def emit_one(self, tenant: str = "app_1") -> tuple[str, float]:
        """Emit one event; returns its id, and when its transaction was about to commit."""
        with self.app.app_context():
            event = webhooks.emit("license.created", event_data(1), tenant=tenant)
            assert event is not None
            event_id = event.id
            at = time.monotonic()
            db.session.commit()
        return event_id, at

    def unsettled(self, endpoint_ids: Sequence[str] | None = None) -> bool:
        """Whether there are deliveries that are due or under way, to any endpoint or to these."""
        delivery = self.models.Delivery
        with self.reading() as connection:
            for state in ("pending", "sending"):
                # Spelt out: SQLite uses partial indexes only for what it knows when it plans.
                is_so = delivery.state == sa.literal_column(f"'{state}'")
                query = sa.select(delivery.id).where(is_so).limit(1)
                if endpoint_ids is not None:
                    query = query.where(delivery.endpoint_id.in_(endpoint_ids))
                if connection.execute(query).first() is not None:
                    return True
        return False

    def wait_until_settled(self, endpoint_ids: Sequence[str] | None = None) -> float:
        """Wait until the last row is written; returns when that was seen, monotonic."""
        return wait_for(
            lambda: not self.unsettled(endpoint_ids), LIMIT, "all deliveries to be settled"
        )

    def count_attempts(self, endpoint_id: str) -> int:
        attempt = self.models.Attempt
        query = sa.select(sa.func.count()).where(attempt.endpoint_id == endpoint_id)
        with self.reading() as connection:
            return connection.execute(query).scalar_one()

    def count_deliveries(self, state: str, tenant: str = "app_1") -> int:
        delivery = self.models.Delivery
        query = sa.select(sa.func.count()).where(delivery.state == state, delivery.tenant == tenant)
        with self.reading() as connection:
            return connection.execute(query).scalar_one()

    def consecutive_failures(self, endpoint_id: str) -> int:
        health = self.models.EndpointHealth
        query = sa.select(health.consecutive_failures).where(health.endpoint_id == endpoint_id)
        with self.reading() as connection:
            return connection.execute(query).scalar() or 0

    def sample(self, tenant: str = "app_1") -> Sample:
        """Deliver one event, and take from the record what was sent. Needs a worker."""
        event_id, _ = self.emit_one(tenant)
        self.wait_until_settled()
        attempt, delivery = self.models.Attempt, self.models.Delivery
        query = (
            sa.select(attempt.request_headers, attempt.request_body)
            .join(delivery, delivery.id == attempt.delivery_id)
            .where(delivery.event_id == event_id)
            .limit(1)
        )
        with self.reading() as connection:
            headers, body = connection.execute(query).one()
        fields = {name.lower(): value for name, value in headers or ()}
        return Sample(
            {name: value for name, value in fields.items() if name not in _BY_THE_CLIENT},
            (body or "").encode(),
        )

    def drain_rate(
        self,
        kind: str,
        events: int,
        deliveries: int,
        account: Account,
        tenant: str = "app_1",
    ) -> float:
        """Deliveries per second of the running workers, all of them due at once.

        From the first request at the receiver until the last row is written.
        """
        self.receiver.reset()
        self.emit(events, tenant)
        return self.rate_of(kind, deliveries, account)

    def drain_processor(
        self, kind: str, events: int, deliveries: int, account: Account, tenant: str = "app_1"
    ) -> tuple[float, float]:
        """Microseconds of the processor for a delivery, of a worker of its own, and deliveries per second.

        Others on the machine change the first less. All deliveries are due at once.
        """
        with self.workers() as workers:
            before = workers.processor_seconds()
            rate = self.drain_rate(kind, events, deliveries, account, tenant)
            return (workers.processor_seconds() - before) / deliveries * 1_000_000, rate

    def rate_of(
        self,
        kind: str,
        deliveries: int,
        account: Account,
        *,
        since: float | None = None,
        endpoint_ids: Sequence[str] | None = None,
    ) -> float:
        """Deliveries per second until all that are due are settled.

        :param since: when it began, if not with the first request.
        """
        self.receiver.wait(kind, deliveries, LIMIT)
        end = self.wait_until_settled(endpoint_ids)
        seen = self.receiver.seen(kind)
        account.add(deliveries, seen.distinct, seen.requests)
        began = since if since is not None else seen.first
        if began is None:
            raise BenchmarkError("Nothing was delivered.")
        return deliveries / (end - began)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for looking on, which takes no lock on SQLite."""
        with self.engine.connect().execution_options(**{READ_ONLY: True}) as connection:
            yield connection
