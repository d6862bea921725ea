"""The pages about moving from another service: each row of their tables has a test behind it."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_webhooks import actions, queries
from flask_webhooks.app_state import state_of
from flask_webhooks.catalog.registry import builtin_catalog
from flask_webhooks.config import Settings
from flask_webhooks.formats import builtin_formats
from flask_webhooks.formats.examples import render_example
from flask_webhooks.models import Endpoint
from tests.formats.vendors.test_exports import read
from tests.support.delivering import close, drain, states, webhooks_of
from tests.support.helpers import accessing, add_endpoint
from tests.support.pages import Browser
from tests.support.pages import make_app as make_pages
from tests.support.processes import ROOT
from tests.support.receiver import Receiver
from tests.support.vendoring import VENDORS, body_of, outgoing, vendor

FOLDER = ROOT / "docs/moving"
OFF = "https://shop.example/off"
OLD = "the-other-old-secret"

#: By service and by the first words of a row: the tests that hold what the row says.
ROWS = {
    "aureva": {
        "Name, URL, events, active, optional secret": "formats.vendors.test_exports.test_export_is_read "
        "formats.test_moving.test_export_that_is_shown_is_imported "
        "actions.test_endpoints.test_a_paused_endpoint_holds_what_is_due_and_what_comes "
        "actions.test_endpoints.test_what_becomes_of_the_held_ones_is_chosen_at_resume",
        "Envelope": "formats.vendors.test_formats.test_aureva_envelope_has_the_project_and_unix_seconds",
        "`data` names ids": "formats.vendors.test_formats.test_aureva_never_sends_a_licence_key "
        "formats.vendors.test_formats.test_sample_of_the_page_is_sent_to_the_letter",
        "`X-Webhook-Signature`": "formats.vendors.test_formats.test_aureva_without_a_secret_is_not_signed "
        "formats.vendors.test_receivers.test_code_of_the_page_runs_unmodified",
        "A Discord URL": "formats.test_moving.test_chat_url_is_recognised",
        "Send test events": "formats.test_moving.test_test_of_each_service_arrives "
        "admin.test_admin.test_the_journey_from_adding_to_deleting "
        "cli.test_cli.test_a_worker_delivers_and_a_test_waits_for_it",
        "Delivery logs": "delivery.test_sending.test_attempt_records_all_that_was_sent_and_came_back",
        "Respond with 200": "formats.vendors.test_formats.test_success_is_what_the_page_says "
        "formats.test_moving.test_numbers_are_the_defaults",
        "Use the data to notice duplicates": "formats.vendors.test_formats."
        "test_every_vendor_format_carries_the_id_of_the_event",
    },
    "authon": {
        "URL, events and secret": "formats.vendors.test_exports.test_answers_of_the_apis_on_the_pages_are_exports",
        "Secret shown once": "formats.vendors.test_formats.test_key_is_the_utf8_text_of_the_whole_secret "
        "cli.test_cli.test_an_endpoint_is_added_and_its_secret_printed_once",
        "Envelope": "formats.vendors.test_formats.test_authon_envelope_has_milliseconds_and_camel_case",
        "`data` in camelCase": "formats.vendors.test_formats.test_data_begins_with_the_members_of_the_page",
        "`X-Webhook-Secret`": "formats.vendors.test_formats.test_authon_carries_secret_event_and_agent "
        "formats.vendors.test_formats.test_secret_of_authon_is_neither_stored_nor_logged",
        "User-Agent": "formats.vendors.test_formats.test_default_agent_of_authon_is_a_webhook_of_the_product",
        "A Discord URL": "formats.test_moving.test_chat_url_is_recognised",
        "Test ping": "formats.vendors.test_formats.test_authon_ping_names_the_product_the_application_and_the_endpoint "
        "formats.test_moving.test_test_of_each_service_arrives",
        "Any 2xx": "formats.vendors.test_formats.test_success_is_what_the_page_says",
        "Timeout": "formats.test_moving.test_numbers_are_the_defaults",
        "Create, list, test and delete": "api.test_vendor_api.test_commands_of_the_authon_page_work "
        "cli.test_cli.test_endpoints_are_listed "
        "actions.test_endpoints.test_deleting_cancels_what_waits_and_keeps_the_history",
    },
    "authvaultix": {
        "Endpoint URL and User Agent": "formats.vendors.test_exports.test_default_user_agent_of_authvaultix_is_none "
        "formats.vendors.test_formats.test_user_agent_of_the_others_is_that_of_the_endpoint",
        "Every event": "actions.test_endpoints.test_by_default_it_is_the_whole_servers_and_gets_everything",
        "Signatures": "formats.vendors.test_receivers.test_receiver_written_for_the_service_runs_unmodified",
        "Delete, delete all": "admin.test_admin.test_the_journey_from_adding_to_deleting "
        "admin.test_admin.test_everything_can_be_deleted_at_once "
        "actions.test_endpoints.test_deleting_all_stays_within_the_tenant",
        "Alerts in Discord and Telegram": "formats.test_moving.test_chat_url_is_recognised "
        "formats.test_moving.test_alert_for_authvaultix_is_a_message_in_a_chat "
        "formats.chat.test_delivery.test_rq_worker_delivers_every_event_type_to_every_chat",
        "Logs of security events": "formats.test_moving.test_event_for_authvaultix_has_what_its_use_needs",
        "Failed logins": "formats.test_moving.test_event_for_authvaultix_has_what_its_use_needs",
        "Payments": "formats.test_moving.test_event_for_authvaultix_has_what_its_use_needs",
        "New builds": "formats.test_moving.test_event_for_authvaultix_has_what_its_use_needs",
    },
    "akuworks": {
        "Flat body": "formats.vendors.test_formats.test_akuworks_body_is_flat_and_carries_its_own_signature",
        "`user`, `verification`": "catalog.test_catalog.test_nested_members_are_those_of_the_akuworks_page",
        "`signature` in the body": "formats.vendors.test_formats."
        "test_akuworks_body_is_flat_and_carries_its_own_signature",
        "Check of the raw body": "formats.vendors.test_receivers.test_code_of_the_page_runs_unmodified",
        "Status 200": "formats.vendors.test_formats.test_request_to_akuworks_receivers_takes_five_seconds_at_most "
        "formats.vendors.test_formats.test_akuworks_answer_of_204_is_a_failure",
        "HTTPS": "security.test_addresses.test_https_is_required_where_the_application_says_so "
        "delivery.test_sending.test_certificates_that_are_not",
        "Retries": "formats.test_moving.test_numbers_are_the_defaults delivery.test_workers.test_retry_falls_due "
        "actions.test_deliveries.test_a_resend_reopens_the_same_delivery "
        "actions.test_deliveries.test_a_resend_arrives_under_the_same_id_and_attempts_go_on_counting",
        "Rate limits": "delivery.test_sending.test_retry_after_holds_the_endpoint_and_spends_no_attempt_of_the_others",
        "Delivery status": "formats.test_moving.test_pages_show_the_figures_and_what_was_sent_last "
        "delivery.test_sending.test_attempt_records_all_that_was_sent_and_came_back",
    },
    "authforge": {
        "URL, events, enabled": "formats.vendors.test_exports.test_export_is_read "
        "formats.test_moving.test_export_that_is_shown_is_imported "
        "actions.test_endpoints.test_a_paused_endpoint_holds_what_is_due_and_what_comes "
        "actions.test_endpoints.test_what_becomes_of_the_held_ones_is_chosen_at_resume",
        "Secret shown once": "formats.vendors.test_formats.test_key_is_the_utf8_text_of_the_whole_secret "
        "cli.test_cli.test_an_endpoint_is_added_and_its_secret_printed_once",
        "Envelope": "formats.vendors.test_formats.test_authforge_envelope_and_headers_tell_the_same",
        "`licenseKey`": "formats.vendors.test_formats.test_data_begins_with_the_members_of_the_page",
        "`X-AuthForge-Event`": "formats.vendors.test_formats.test_authforge_envelope_and_headers_tell_the_same",
        "`X-AuthForge-Signature`": "formats.vendors.test_receivers.test_code_of_the_page_runs_unmodified",
        "Five webhooks": "formats.test_moving.test_numbers_are_the_defaults "
        "actions.test_endpoints.test_a_tenant_has_a_limit_and_the_whole_server_none",
        "Timeout": "formats.test_moving.test_numbers_are_the_defaults",
        "No retries": "formats.test_moving.test_numbers_are_the_defaults delivery.test_workers.test_retry_falls_due "
        "actions.test_deliveries.test_a_resend_reopens_the_same_delivery "
        "actions.test_deliveries.test_a_resend_arrives_under_the_same_id_and_attempts_go_on_counting",
        "Test with a sample": "formats.test_moving.test_test_of_each_service_arrives",
        "Create and test": "api.test_vendor_api.test_commands_of_the_authforge_page_work",
    },
}


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text()


def table(name: str, heading: str) -> list[tuple[str, str]]:
    """The rows of the table of a section."""
    section = text_of(name).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", section, re.MULTILINE)
    return rows[2:]


def test_every_service_has_its_page() -> None:
    assert {Path(path).stem for path in FOLDER.glob("*.md")} == set(VENDORS) == ROWS.keys()


@pytest.mark.parametrize("name", VENDORS)
def test_every_row_has_tests_behind_it(name: str) -> None:
    rows = [feature for feature, _ in table(name, "Feature by feature")]
    assert len(rows) == len(ROWS[name])
    for row, start in zip(rows, ROWS[name], strict=True):
        assert row.startswith(start)
    for tests in ROWS[name].values():
        for test in tests.split():
            module, _, function = test.rpartition(".")
            assert function.startswith("test_")
            assert callable(getattr(importlib.import_module(f"tests.{module}"), function))


@pytest.mark.parametrize("name", VENDORS)
def test_events_are_those_that_are_sent(name: str) -> None:
    told = {
        ours: theirs.strip("`")
        for theirs, cell in table(name, "Events")
        for ours in re.findall(r"\[`([\w.]+)`\]", cell)
    }
    assert told == dict(vendor(name).event_names)


@pytest.mark.parametrize("name", VENDORS)
def test_export_that_is_shown_is_read(name: str) -> None:
    exported = read(name, shown_export(name))
    assert exported["url"] == "https://shop.example/webhooks"
    assert exported["secret"]
    for theirs in exported["events"] or []:
        assert vendor(name).event_types(theirs)


def shown_export(name: str) -> dict[str, Any]:
    [block] = re.findall(r"```json\n(.*?)```", text_of(name), re.DOTALL)
    item: dict[str, Any] = json.loads(block)
    return item


#: By service: an endpoint that was switched off there, and its events in our names.
INACTIVE: dict[str, tuple[dict[str, Any], list[str] | None]] = {
    "aureva": (
        {
            "name": "Off",
            "url": OFF,
            "events": '["key.deleted"]',
            "is_active": False,
            "secret": None,
        },
        ["license.revoked", "license.deleted"],
    ),
    "authon": (
        {"id": "wh_2", "url": OFF, "events": ["user.ban"], "secret": OLD, "active": False},
        ["user.banned"],
    ),
    "authvaultix": ({"endpoint_url": OFF, "secret": OLD, "active": 0}, None),
    "akuworks": (
        {"url": OFF, "events": ["verification.success"], "enabled": False, "secret": OLD},
        ["verification.succeeded"],
    ),
    # The one name that both sides have, for different things.
    "authforge": (
        {"url": OFF, "events": ["license.activated"], "enabled": False, "secret": OLD},
        ["license.reinstated"],
    ),
}
#: By service: the events of the export that its page shows, in our names.
IMPORTED = {
    "aureva": ["license.created"],
    "authon": ["user.logged_in"],
    "authvaultix": None,
    "akuworks": ["verification.failed"],
    "authforge": ["license.created", "license.revoked"],
}


@pytest.mark.parametrize("name", VENDORS)
def test_export_that_is_shown_is_imported(name: str, app: Flask, tmp_path: Path) -> None:
    shown = shown_export(name)
    inactive, events = INACTIVE[name]
    path = tmp_path / "endpoints.json"
    path.write_text(json.dumps([shown, inactive]).replace("shop.example", "127.0.0.1"))
    runner = app.test_cli_runner()
    result = runner.invoke(args=["webhooks", "import", str(path), "--format", name])
    assert result.exit_code == 0, result.output
    assert [line.partition(" (")[2] for line in result.output.splitlines()] == [
        f"{name}, whole server)",
        f"{name}, whole server, paused)",
    ]
    # As it was said, and stored: what the receivers get from now on.
    paused, active = (row.endpoint for row in queries.list_endpoints(accessing(app)))
    for endpoint, item, ours, state in (
        (active, shown, IMPORTED[name], "active"),
        (paused, inactive, events, "paused"),
    ):
        url = item.get("url") or item["endpoint_url"]
        assert endpoint.url_shown == url.replace("shop.example", "127.0.0.1")
        assert (endpoint.format, endpoint.events, endpoint.state) == (name, ours, state)
        assert endpoint.name == item.get("name", "")
        assert endpoint.user_agent is None
        assert secrets_of(app, endpoint) == [item["secret"]] * (item["secret"] is not None)


def secrets_of(app: Flask, endpoint: Endpoint) -> list[str]:
    sealed = endpoint.secrets_sealed
    return (
        [] if sealed is None else [item["secret"] for item in state_of(app).vault.decrypt(sealed)]
    )


@pytest.mark.parametrize(
    ("url", "chat"),
    [
        ("https://discord.com/api/webhooks/1/a", "discord"),
        ("https://discordapp.com/api/webhooks/1/a", "discord"),
        ("https://api.telegram.org/bot1:a/sendMessage?chat_id=1", "telegram"),
    ],
)
def test_chat_url_is_recognised(url: str, chat: str) -> None:
    for name in VENDORS:
        assert builtin_formats().detect(url, name).name == chat


@pytest.mark.parametrize("chat", ["discord", "telegram"])
@pytest.mark.parametrize(
    ("event_type", "title", "tells"),
    [
        ("user.registered", "User registered", "Username"),
        ("license.activated", "License activated", "License key"),
        ("user.login_failed", "User login failed", "Failed attempts"),
        ("hwid.changed", "HWID changed", "HWID"),
        ("hwid.mismatched", "HWID mismatched", "HWID"),
        ("payment.succeeded", "Payment succeeded", "Amount"),
        ("payment.failed", "Payment failed", "Amount"),
    ],
)
def test_alert_for_authvaultix_is_a_message_in_a_chat(
    chat: str, event_type: str, title: str, tells: str
) -> None:
    style = builtin_formats()[chat]
    example = render_example(style, builtin_catalog()[event_type], product_name="Acme")
    message = json.loads(example.body)
    text = message["text"] if chat == "telegram" else json.dumps(message["embeds"])
    assert title in text
    assert tells in text


def test_pages_show_the_figures_and_what_was_sent_last(
    tmp_path: Path, redis_url: str, receiver: Receiver
) -> None:
    """As the page of AkuWorks does: shares, the average response time, events with their status."""
    app = make_pages(f"sqlite:///{tmp_path / 'database.sqlite'}", redis_url)
    sent = [
        ("verification.succeeded", "200"),
        ("verification.failed", "200"),
        ("security.alert", "500"),
    ]
    for event_type, status in sent:
        url = receiver.url(f"/status/{status}")
        endpoint = add_endpoint(app, url, format="akuworks", events=[event_type])
        actions.send_test(accessing(app), endpoint.id, event_type)
    drain(app)
    browser = Browser(app)
    text = browser.get("/overview").text
    assert "Successful 66.7 % 2" in text
    assert "Failed 33.3 % 1" in text
    assert re.search(r"Average response time \d+(\.\d+)? m?s ", text)
    [rows] = browser.get("/deliveries").all("tbody")
    shown = {
        (event_type, status)
        for row in rows.all("tr")
        for event_type, status in sent
        if {event_type, status} <= set(row.text.split())
    }
    assert shown == set(sent)
    close(app)


@pytest.mark.parametrize("name", VENDORS)
def test_test_of_each_service_arrives(name: str, app: Flask, receiver: Receiver) -> None:
    created = webhooks_of(app).create_endpoint(receiver.url(), format=name, tenant="app_1")
    wire = vendor(name)
    actions.send_test(accessing(app), created.endpoint.id, wire.test_event)
    drain(app)
    assert states(app) == {"succeeded": 1}
    [request] = receiver.requests
    message = json.loads(request.body)
    assert message["event"] == wire.event_name(wire.test_event)
    if name == "authon":
        assert message["data"] == {
            "message": "This is a test ping from Flask-Webhooks",
            "appId": "app_1",
            "webhookId": created.endpoint.id.replace("ep_", "wh_"),
        }


@pytest.mark.parametrize(
    ("event_type", "sent", "members"),
    [
        ("signature.rejected", "signature.rejected", "reason ip"),
        ("rate_limit.exceeded", "rate_limit.exceeded", "limit ip"),
        ("staff.acted", "staff.acted", "actor_id action"),
        ("seller.acted", "seller.acted", "actor_id action"),
        ("user.login_failed", "auth.login.failed", "ip failed_attempts"),
        ("payment.succeeded", "payment.success", "email product"),
        ("payment.failed", "payment.failed", "email product"),
        ("file.uploaded", "file.uploaded", "file_id version"),
        ("file.updated", "file.updated", "file_id version"),
    ],
)
def test_event_for_authvaultix_has_what_its_use_needs(
    event_type: str, sent: str, members: str
) -> None:
    message = body_of("authvaultix", outgoing(event_type, builtin_catalog()[event_type].example))
    assert message["event"] == sent
    assert set(members.split()) <= message["data"].keys()


def test_numbers_are_the_defaults() -> None:
    settings = Settings()
    assert settings.timeout == 10
    assert settings.max_endpoints == 5
    assert len(settings.retry_schedule) == 9
    assert round(sum(settings.retry_schedule) / 86_400) == 3
    assert vendor("akuworks").timeout == 5
