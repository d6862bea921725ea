"""How long pages take to make with a history of a million deliveries, most of them one tenant's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from demo.services import PostgresServer
from flask_webhooks import actions
from flask_webhooks.app_state import ALL_TENANTS, state_of
from tests.support.delivering import webhooks_of
from tests.support.helpers import (
    accessing,
    add_endpoint,
    add_portal_link,
    add_scheduled,
    close,
    statements,
)
from tests.support.pages import ENDPOINT_PAGES, Browser, make_app

pytestmark = pytest.mark.slow

DELIVERIES = 1_000_000
ENDPOINTS = 200
#: The endpoints of the tenant that has nine deliveries of ten; the rest are shared out among 60 others.
BIG = 20
#: One of those: what there is of it lies far apart among what is the big one's.
SMALL = "small_30"
DAYS = 30
#: Pages that nobody sees who sees one tenant only.
FOR_ALL_TENANTS = {"/prune", "/erase"}

#: Milliseconds of server time.
MOST = 100
#: How often a page that took longer is measured again.
TRIES = 6
STATEMENTS = 12


@pytest.fixture(scope="module")
def app(postgres_server: PostgresServer, redis_server: object) -> Iterator[Flask]:
    postgres_server.start()
    url = postgres_server.create_database("admin_speed")
    app = make_app(url, redis_server.url, WEBHOOKS_MAX_ENDPOINTS=ENDPOINTS)  # type: ignore[attr-defined]
    seed(app)
    yield app
    close(app)
    postgres_server.drop_database("admin_speed")


def seed(app: Flask) -> None:
    """A million events with a delivery each, attempts for the newest, and a month of statistics."""
    ids = [
        add_endpoint(
            app,
            f"https://hooks.example.com/{number}",
            tenant="big" if number < BIG else f"small_{number % 60}",
            name=f"Webhook {number}",
        ).id
        for number in range(ENDPOINTS)
    ]
    names = [kind.name for kind in state_of(app).catalog if kind.subscribable][:12]
    with state_of(app).engine.begin() as connection:
        connection.execute(
            sa.text("CREATE TEMP TABLE targets (n int PRIMARY KEY, id text, tenant text)")
        )
        connection.execute(
            sa.text("INSERT INTO targets VALUES (:n, :id, :tenant)"),
            [
                {
                    "n": number,
                    "id": id_,
                    "tenant": "big" if number < BIG else f"small_{number % 60}",
                }
                for number, id_ in enumerate(ids)
            ],
        )
        connection.execute(sa.text("CREATE TEMP TABLE names (n int PRIMARY KEY, name text)"))
        connection.execute(
            sa.text("INSERT INTO names VALUES (:n, :name)"),
            [{"n": number, "name": name} for number, name in enumerate(names)],
        )
        # Ids that sort by time, as ours do: base 32 of the milliseconds, here in zero-padded decimal.
        connection.execute(
            sa.text(
                """
                CREATE TEMP TABLE history AS
                SELECT s.n, lpad(s.n::text, 26, '0') AS key, t.id AS endpoint_id, t.tenant, k.name,
                       now() - (:count - s.n) * interval '2.5 seconds' AS at,
                       -- Those that end with 9 are of the small tenants.
                       CASE WHEN s.n % 20 = 7 OR s.n % 70 = 19 THEN 'failed'
                            WHEN s.n > :count - 2000 AND (s.n % 2 = 0 OR s.n % 20 = 9) THEN 'pending'
                            WHEN s.n % 100 = 3 OR s.n % 130 = 29 THEN 'held'
                            WHEN s.n % 500 = 11 OR s.n % 210 = 39 THEN 'cancelled'
                            ELSE 'succeeded' END AS state
                FROM generate_series(1, :count) AS s(n)
                JOIN targets t ON t.n = CASE WHEN s.n % 10 < 9 THEN (s.n / 20 * 1009 + s.n) % :big
                                             ELSE :big + (s.n / 20 * 1009 + s.n) % (:endpoints - :big) END
                JOIN names k ON k.n = (s.n / 3) % 12
                """
            ),
            {"count": DELIVERIES, "big": BIG, "endpoints": ENDPOINTS},
        )
        for statement in (
            """INSERT INTO webhooks_event (id, type, tenant, data, occurred_at, created_at)
               SELECT 'evt_' || key, name, tenant, '{"license_id":"lic_' || n || '","plan":"pro"}', at, at
               FROM history""",
            """INSERT INTO webhooks_delivery (id, event_id, endpoint_id, tenant, event_type, state, "trigger",
                   due_at, attempt_count, failure_count, interruption_count, last_status, created_at, reason,
                   completed_at, sequence)
               SELECT 'dlv_' || key, 'evt_' || key, endpoint_id, tenant, name, state, 'event',
                   CASE WHEN state = 'pending' THEN at END, 1, 0, 0,
                   CASE state WHEN 'failed' THEN 503 WHEN 'succeeded' THEN 200 END, at,
                   CASE WHEN state = 'failed' THEN 'exhausted' END,
                   CASE WHEN state = 'failed' THEN at END,
                   row_number() OVER (PARTITION BY endpoint_id ORDER BY n) FROM history""",
            """UPDATE webhooks_endpoint_health h SET last_sequence = numbered.last FROM (
                   SELECT endpoint_id, max(sequence) AS last FROM webhooks_delivery GROUP BY endpoint_id
               ) numbered WHERE numbered.endpoint_id = h.endpoint_id""",
            """INSERT INTO webhooks_attempt (delivery_id, number, endpoint_id, "trigger", started_at, duration_ms,
                   outcome, status, url, request_headers, request_body, response_headers, response_body,
                   response_cut, timings)
               SELECT 'dlv_' || key, 1, endpoint_id, 'event', at, 40,
                   CASE state WHEN 'failed' THEN 'refused' ELSE 'succeeded' END, 200, 'https://hooks.example.com/',
                   '[["webhook-id","x"]]', '{"type":"x"}', '[]', 'ok', false, '{"connect":10,"wait":30}'
               FROM history WHERE n > 900000""",
            """INSERT INTO webhooks_statistic (endpoint_id, hour, succeeded, failed, duration_ms, ms_10, ms_25, ms_50,
                   ms_100, ms_250, ms_500, ms_1000, ms_2500, ms_5000, ms_10000, ms_more)
               SELECT t.id, date_trunc('hour', now()) - h * interval '1 hour', 95, 5, 4000, 0, 20, 60, 15, 5, 0, 0,
                   0, 0, 0, 0 FROM targets t CROSS JOIN generate_series(0, 719) h""",
            """INSERT INTO webhooks_task (id, kind, endpoint_id, tenant, filter, actor, state, total, done, cursor,
                   bound, created_at, touched_at, finished_at)
               SELECT 'task_' || key, 'recover', endpoint_id, tenant, '{}', 'ann', 'finished', 10, 10, '', '', at, at,
                   at FROM history WHERE mod(n, 500) = 0 OR mod(n, 700) = 99""",
            """INSERT INTO webhooks_activity (id, at, actor, action, tenant, endpoint_id)
               SELECT 'act_' || key, at, 'ann', 'endpoint.updated', tenant, endpoint_id FROM history
               WHERE mod(n, 20) = 0 OR mod(n, 70) = 9""",
        ):
            connection.exec_driver_sql(statement)
    with (
        state_of(app).engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection
    ):
        connection.execute(sa.text("VACUUM ANALYZE"))


def pages(app: Flask, tenant: str) -> list[str]:
    """Every page, of what belongs to a tenant."""
    whose = {"tenant": tenant}
    with state_of(app).engine.connect() as connection:
        # One that was attempted.
        endpoint_id, delivery_id, event_id = connection.execute(
            sa.text(
                "SELECT d.endpoint_id, d.id, d.event_id FROM webhooks_delivery d JOIN webhooks_attempt a "
                "ON a.delivery_id = d.id WHERE d.tenant = :tenant ORDER BY d.id DESC LIMIT 1"
            ),
            whose,
        ).one()
        task_id = connection.scalar(
            sa.text("SELECT max(id) FROM webhooks_task WHERE tenant = :tenant"), whose
        )
        middle_id = connection.scalar(
            sa.text(
                "SELECT id FROM webhooks_endpoint WHERE tenant = :tenant ORDER BY id DESC LIMIT 1"
            ),
            whose,
        )
    scheduled_id = add_scheduled(app, tenant)
    token_id = actions.create_token(accessing(app), "CI", ["view"], tenant=tenant).token.id
    middle = str(DELIVERIES // 2).rjust(26, "0")
    return [
        "/",
        "/?q=Webhook+1",
        "/overview",
        "/overview?period=7d",
        f"/endpoints/{endpoint_id}",
        f"/endpoints/{endpoint_id}?period=30d",
        f"/endpoints/{endpoint_id}/ledger",
        f"/endpoints/{endpoint_id}/ledger?to=100",
        "/deliveries",
        *(
            f"/deliveries?state={state}"
            for state in ("pending", "held", "failed", "cancelled", "sending")
        ),
        "/deliveries?type=license.created",
        "/deliveries?type=payment.failed&state=failed",
        "/deliveries?status=5xx",
        "/deliveries?status=404",
        "/deliveries?q=lic_999",
        "/deliveries?q=nowhere",
        f"/deliveries?webhook={endpoint_id}&state=failed",
        f"/deliveries?id={event_id}",
        f"/deliveries/{delivery_id}",
        "/deliveries?webhook=Webhook+1",
        "/deliveries/resend-all",
        "/deliveries/resend-all?state=failed",
        "/deliveries/resend-all?type=payment.failed&status=404",
        "/deliveries/cancel-all",
        f"/deliveries/cancel-all?webhook={endpoint_id}",
        f"/endpoints/{endpoint_id}/recover",
        f"/endpoints/{endpoint_id}/recover?since=2020-01-01T00:00",
        f"/endpoints/{endpoint_id}/replay?since=2020-01-01T00:00",
        "/tasks",
        f"/tasks?webhook={endpoint_id}",
        f"/tasks/{task_id}",
        f"/tokens/{token_id}/revoke",
        f"/portal-links/{add_portal_link(app, tenant)}/revoke",
        "/scheduled",
        f"/scheduled/{scheduled_id}",
        f"/scheduled/{scheduled_id}/cancel",
        "/events",
        "/events?type=license.created",
        f"/events/{event_id}",
        f"/events/{event_id}/subscribe/{endpoint_id}",
        "/event-types",
        "/event-types/license.created",
        "/activity",
        "/health",
        "/endpoints/new",
        *(f"/endpoints/{endpoint_id}/{page}" for page in ENDPOINT_PAGES),
        "/delete-all",
        # Further back, where keys are looked for in the middle of everything.
        f"/?before={middle_id}",
        f"/deliveries?before=dlv_{middle}",
        f"/deliveries?before=dlv_{middle}&state=failed",
        f"/deliveries?before=dlv_{middle}&webhook={endpoint_id}",
        f"/events?before=evt_{middle}",
        f"/tasks?before=task_{middle}",
        f"/activity?before=act_{middle}",
        # Filters of operators, and of the audit log.
        f"/?tenant={tenant}",
        f"/events?tenant={tenant}",
        f"/deliveries?tenant={tenant}",
        f"/deliveries?tenant={tenant}&state=failed",
        f"/deliveries/resend-all?tenant={tenant}&state=failed",
        f"/activity?tenant={tenant}",
        "/activity?actor=ann",
        "/activity?actor=nobody",
        "/activity?action=endpoint.updated",
        f"/activity?action=endpoint.deleted&tenant={tenant}",
        "/activity?since=2020-01-01T00:00&until=2020-01-02T00:00",
        f"/activity?webhook={endpoint_id}",
    ]


def left_out(app: Flask, paths: list[str]) -> set[str]:
    """The rules of our pages that none of these paths leads to."""
    adapter = app.url_map.bind("localhost")
    rules = {
        rule.endpoint: rule.rule.removeprefix("/webhooks")
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("flask_webhooks.") and "GET" in (rule.methods or ())
    }
    reached = {
        adapter.match(f"/webhooks{path.partition('?')[0]}", method="GET")[0] for path in paths
    }
    # Neither is a page.
    reached |= {"flask_webhooks.static", "flask_webhooks.key_document"}
    return {rule for view, rule in rules.items() if view not in reached}


#: What the script of a page asks for every few seconds.
LIVE = {"Flask-Webhooks-Fragment": "live"}


def measure(browser: Browser, path: str, headers: dict[str, str]) -> list[float]:
    """Milliseconds that a page takes, nine times."""
    times = []
    for _ in range(9):
        begun = time.perf_counter()
        # A search that finds one webhook leads on to its deliveries.
        response = browser.client.get(f"/webhooks{path}", headers=headers, follow_redirects=True)
        times.append((time.perf_counter() - begun) * 1000)
        assert response.status_code == 200, path
    return times


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tenant", [None, "big", SMALL])
def test_each_page_takes_at_most_100_ms_with_a_million_deliveries(
    app: Flask, tenant: str | None
) -> None:
    webhooks_of(app).hooks.current_tenant = lambda: ALL_TENANTS if tenant is None else tenant
    browser = Browser(app)
    found: dict[str, tuple[float, float]] = {}
    paths = pages(app, tenant or "big")
    # A page that is new may need nothing to be asked for.
    paths += sorted(rule for rule in left_out(app, paths) if "<" not in rule)
    assert left_out(app, paths) == set()
    if tenant is not None:
        paths = [path for path in paths if path not in FOR_ALL_TENANTS]
    asked: list[tuple[str, dict[str, str]]] = [(path, {}) for path in paths]
    asked += [(path, LIVE) for path in ("/deliveries", "/deliveries?state=pending", "/health")]
    for path, headers in asked:
        with statements(app) as executed:
            browser.client.get(f"/webhooks{path}", headers=headers)
        assert len(executed) <= STATEMENTS, (path, executed)
        times = measure(browser, path, headers)
        for _ in range(TRIES):
            if statistics.median(times) <= MOST:
                break
            # The machine may have been busy with something else for a while.
            time.sleep(5)
            times = measure(browser, path, headers)
        found[f"{path} (live)" if headers else path] = statistics.median(times), min(times)
    report = "\n".join(
        f"{median:8.1f} ms, at best {best:8.1f} ms  {path}"
        for path, (median, best) in found.items()
    )
    print(f"\n{tenant or 'every tenant'}\n{report}")
    slow = {path: median for path, (median, _best) in found.items() if median > MOST}
    assert not slow, report
