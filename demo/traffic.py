"""Customers of the licensing server: people who register, log in, mistype passwords, change computers.

They use the JSON API over HTTP. Each knows what its requests must be answered with and which events they
cause, so that the demo can tell when one of them never got as far as the database.
"""

from __future__ import annotations

import http.client
import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

VISITORS = 4
#: Accounts that a visitor goes on using; older ones are left alone.
ACCOUNTS = 100
#: Seconds that a request may take.
PATIENCE = 10.0
#: Unexpected answers that are kept to be shown.
SHOWN = 10

_NAMES = ("mira", "jonas", "aiko", "priya", "lena", "tariq", "sofia", "emeka", "noor", "pablo")
_AGENTS = ("AcmeLoader/2.4 (Windows NT 10.0)", "AcmeLoader/2.3 (Windows NT 6.1)", "acme-cli/1.9")


@dataclass(slots=True)
class Account:
    """What a user of the software knows."""

    username: str
    password: str
    license_key: str
    hwid: str
    ip: str


class Traffic:
    """Several visitors at a time, who make so many requests a second together."""

    def __init__(self, port: int, api_keys: Sequence[str], rate: float) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._requests = 0
        #: Events that must be in the database, by type.
        self.expected: Counter[str] = Counter()
        #: Answers that nobody expected, the first few of them.
        self.surprises: list[str] = []
        self._visitors = [
            Visitor(self, number, port, api_keys[number % len(api_keys)], VISITORS / rate)
            for number in range(VISITORS)
        ]
        self._threads = [
            threading.Thread(target=visitor.run, args=(self._stop,), name=f"visitor-{number}")
            for number, visitor in enumerate(self._visitors)
        ]

    @property
    def requests(self) -> int:
        with self._lock:
            return self._requests

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each visitor end what they are doing. May be called again."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(PATIENCE + 5)

    def record(self, surprise: str | None, events: Sequence[str]) -> None:
        """Count a request, for a visitor."""
        with self._lock:
            self._requests += 1
            if surprise is None:
                self.expected.update(events)
            elif len(self.surprises) < SHOWN:
                self.surprises.append(surprise)


class Visitor:
    """A person with a few accounts in one application, who is sometimes its support staff."""

    def __init__(
        self, traffic: Traffic, number: int, port: int, api_key: str, pause: float
    ) -> None:
        self._traffic = traffic
        self._number = number
        self._pause = pause
        self._random = random.Random(number)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self._keys: list[str] = []
        self._accounts: list[Account] = []
        self._next_request = 0.0

    def run(self, stop: threading.Event) -> None:
        self._next_request = time.monotonic()
        steps, weights = zip(*self._habits(), strict=True)
        while not stop.is_set():
            if not self._keys:
                self._buy_keys()
            elif not self._accounts:
                self._register()
            else:
                self._random.choices(steps, weights)[0]()
        self._connection.close()

    def _habits(self) -> list[tuple[Callable[[], None], int]]:
        return [
            (self._log_in, 30),
            (self._validate, 30),
            (self._register, 10),
            (self._mistype_password, 8),
            (self._activate_without_account, 5),
            (self._try_an_invented_key, 4),
            (self._borrow_a_key, 4),
            (self._move_to_a_new_computer, 3),
            (self._renew, 2),
            (self._get_banned, 1),
            (self._win_an_appeal, 1),
        ]

    # -- what they do ------------------------------------------------------------------------------

    def _buy_keys(self) -> None:
        order = {"level": self._random.randint(1, 3), "duration": "30d", "count": 5}
        bought = self._post("licenses", order, 201, *["license.created"] * 5)
        self._keys += [license["license_key"] for license in bought.get("licenses", [])]

    def _register(self) -> None:
        name = f"{self._random.choice(_NAMES)}-{self._number}-{secrets.token_hex(3)}"
        ip = f"203.0.113.{self._random.randint(1, 254)}"
        account = Account(name, secrets.token_hex(6), self._keys.pop(), _new_hwid(), ip)
        events = ("license.activated", "hwid.bound", "user.registered")
        if self._post("register", self._as_user(account, with_key=True), 201, *events):
            self._accounts = [*self._accounts[-ACCOUNTS + 1 :], account]

    def _log_in(self) -> None:
        account = self._anyone()
        self._post("login", self._as_user(account), 200, "user.logged_in")

    def _mistype_password(self) -> None:
        attempt = self._as_user(self._anyone()) | {"password": "correct horse"}
        self._post("login", attempt, 401, "user.login_failed")

    def _validate(self) -> None:
        self._post("validate", self._as_device(self._anyone()), 200, "license.validated")

    def _try_an_invented_key(self) -> None:
        guess = self._as_device(self._anyone()) | {"license_key": "AAAA-BBBB-CCCC-DDDD"}
        self._post("validate", guess, 404, "license.rejected")

    def _borrow_a_key(self) -> None:
        attempt = self._as_device(self._anyone()) | {"hwid": _new_hwid()}
        self._post("validate", attempt, 403, "hwid.mismatched")

    def _activate_without_account(self) -> None:
        first_use = {"license_key": self._keys.pop(), "hwid": _new_hwid()}
        self._post("activate", first_use, 200, "license.activated", "hwid.bound")

    def _move_to_a_new_computer(self) -> None:
        account = self._anyone()
        path = f"licenses/{account.license_key}/reset-hwid"
        self._post(path, {"reason": "New computer", "actor": "support"}, 200, "hwid.reset")
        account.hwid = _new_hwid()
        self._post("validate", self._as_device(account), 200, "hwid.bound", "license.validated")

    def _renew(self) -> None:
        path = f"licenses/{self._anyone().license_key}/renew"
        self._post(path, {"duration": "30d"}, 200, "license.renewed")

    def _get_banned(self) -> None:
        account = self._anyone()
        request = {"username": account.username, "reason": "Shared the account"}
        self._post("ban", request | {"actor": "moderator"}, 200, "user.banned")
        self._post("login", self._as_user(account), 403, "user.login_failed")
        self._accounts.remove(account)

    def _win_an_appeal(self) -> None:
        account = self._anyone()
        path = f"licenses/{account.license_key}/"
        by = {"actor": "billing"}
        self._post(path + "revoke", by | {"reason": "Chargeback"}, 200, "license.revoked")
        self._post("validate", self._as_device(account), 403, "license.rejected")
        granted = by | {"reason": "The chargeback was withdrawn"}
        self._post(path + "reinstate", granted, 200, "license.reinstated")

    # -- how they do it ----------------------------------------------------------------------------

    def _anyone(self) -> Account:
        return self._random.choice(self._accounts)

    def _as_user(self, account: Account, *, with_key: bool = False) -> dict[str, Any]:
        body = self._as_device(account)
        if not with_key:
            del body["license_key"]
        return body | {"username": account.username, "password": account.password}

    def _as_device(self, account: Account) -> dict[str, Any]:
        return {
            "license_key": account.license_key,
            "hwid": account.hwid,
            "ip": account.ip,
            "user_agent": _AGENTS[len(account.username) % len(_AGENTS)],
        }

    def _post(self, path: str, body: dict[str, Any], status: int, *events: str) -> dict[str, Any]:
        """Make a request when it is time for it; returns the answer, empty if it is not the right one."""
        # Behind by more than a second (a slow server), the visitor does not try to catch up.
        self._next_request = max(self._next_request, time.monotonic() - 1)
        self._next_request += self._random.uniform(0.2, 1.8) * self._pause
        time.sleep(max(0, self._next_request - time.monotonic()))
        answer: dict[str, Any] = {}
        surprise = None
        try:
            self._connection.request("POST", f"/api/v1/{path}", json.dumps(body), self._headers)
            response = self._connection.getresponse()
            text = response.read()
            if response.status == status:
                answer = json.loads(text)
            else:
                surprise = f"{path}: {response.status} instead of {status}: {text[:200]!r}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            surprise = f"{path}: {type(error).__name__}: {error}"
        self._traffic.record(surprise, events)
        return answer


def _new_hwid() -> str:
    return secrets.token_hex(8)
