"""A MariaDB of the system on a free port, for the tests that show our statements to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

from demo.services import HOST, free_port


def installed() -> bool:
    return all(shutil.which(name) for name in ("mariadbd", "mariadb-install-db"))


@contextmanager
def mariadb(directory: Path, charset: str = "utf8mb4", *options: str) -> Iterator[str]:
    """Run a server with an empty database; gives that database's URL.

    :param charset: that of the database, in which tables are created by default. :param options: of the server.
    """
    data, port = directory / "mariadb", free_port()
    account = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        [
            *("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db"),
            *("--auth-root-authentication-method=normal", *account),
        ],
        check=True,
        capture_output=True,
    )
    with (directory / "mariadb.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *("mariadbd", "--no-defaults", f"--datadir={data}", f"--port={port}"),
                *(f"--bind-address={HOST}", f"--socket={directory / 'socket'}", *account),
                *("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0", *options),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                connection = pymysql.connect(host=HOST, port=port, user="root")
                break
            except pymysql.err.OperationalError:
                assert server.poll() is None, (directory / "mariadb.log").read_text()
                assert time.monotonic() < deadline, "MariaDB did not start"
                time.sleep(0.1)
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE webhooks CHARACTER SET {charset}")
        yield f"mysql+pymysql://root@{HOST}:{port}/webhooks?charset=utf8mb4"
    finally:
        server.kill()
        server.wait(10)
