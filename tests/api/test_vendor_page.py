"""The page that says how programs move in: its commands run, and it tells of every request there is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from flask import Flask

from flask_webhooks.api.vendors.services import SERVICES
from tests.support.vendor_calls import curl, curl_commands
from tests.test_docs import DOCS, SERVER, SHOP, Stage, blocks, prose, run_page
from tests.test_docs import stage as stage  # a fixture

PAGE = DOCS / "how-to/move-in-by-api.md"


def section(service: str) -> str:
    text = PAGE.read_text()
    return text.partition(f"\n## {service}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("service", ["Authon", "AuthForge"])
def test_commands_of_the_page_work(stage: Stage, service: str) -> None:
    run_page(PAGE, stage)
    place = {SERVER: stage.serve(), SHOP: stage.receiver.url("/ok/shop")}
    create, list_, test, delete = curl_commands(section(service))
    status, made = curl(create, **place)
    assert status == 201
    webhook = made["data"] if service == "Authon" else made
    place["WEBHOOK_ID"] = webhook["id"]
    if service == "Authon":
        [shown, _] = [
            json.loads(text) for text in re.findall(r"```json\n(.*?)```", section(service), re.S)
        ]
        assert keys(made) == keys(shown)
    assert [curl(words, **place)[0] for words in (list_, test, delete, delete)] == [
        *(200, 202, 200, 404)
    ]
    assert curl(list_, **place)[1] == (
        {"success": True, "data": []} if service == "Authon" else {"webhooks": []}
    )


def keys(value: Any) -> Any:
    return {key: keys(item) for key, item in value.items()} if isinstance(value, dict) else None


def test_refusal_that_is_shown_is_what_is_answered(stage: Stage) -> None:
    run_page(PAGE, stage)
    [shown] = [json.loads(item.code) for item in blocks(PAGE, "json") if "false" in item.code]
    words = curl_commands(section("Authon"))[1]
    status, refusal = curl(words, **{SERVER: stage.serve(), "app_1": "app_2"})
    assert (status, refusal) == (404, shown)


def test_people_are_let_in_as_before(stage: Stage) -> None:
    run_page(PAGE, stage)
    app: Flask = stage.names["app"]
    stage.leave()
    for name, status in (("staff", 200), ("customer", 403), (None, 403)):
        person = app.test_client()
        if name is not None:
            person.post(f"/become/{name}")
        assert person.get("/webhooks/").status_code == status, name
        assert person.get("/v1/apps/app_1/webhooks").status_code == 401, name


def test_every_request_is_on_the_page(stage: Stage) -> None:
    run_page(PAGE, stage)
    text = prose(PAGE)
    found = 0
    for rule in stage.names["app"].url_map.iter_rules():
        if rule.rule.startswith("/v1/") and not rule.endpoint.endswith("_otherwise"):
            [method] = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            path = (
                rule.rule.removeprefix("/v1").replace("app_id", "app").replace("webhook_id", "id")
            )
            assert f"`{method} {path}`" in text
            found += 1
    assert found == 4 * len(SERVICES)
