"""``python -m tests.support.reaching``: send requests, to be watched from outside.

Reads a JSON list of cases, each a URL and the addresses that its name leads to, request by request; says for each
request what became of it: a status, the refusal, or an error.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import Any

from flask_webhooks.delivery.http import resolver
from flask_webhooks.delivery.http.client import Client
from flask_webhooks.security.addresses import NetworkPolicy
from tests.delivery.http.test_client import MAX_BODY, Names, post


def main() -> None:
    asked: dict[str, Any] = json.load(sys.stdin)
    names = Names()
    resolver._lookup, resolver.FRESH = names.lookup, 0.0
    policy = NetworkPolicy.from_config(asked["allowed"])
    results: list[int | str] = []
    with closing(Client(policy, MAX_BODY)) as client:
        for url, name, answers in asked["cases"]:
            for answer in answers or [[]]:
                if name is not None:
                    names[name] = answer
                try:
                    exchange = post(client, url)
                except ValueError as error:
                    results.append(str(error))
                else:
                    results.append(exchange.status or exchange.refused or exchange.error or "")
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
