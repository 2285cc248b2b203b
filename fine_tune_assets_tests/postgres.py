"""Creates, starts and stops a real PostgreSQL server for the tests, on loopback in a temporary folder.

Use: import `postgres_server` into a conftest, and create a separate database with `create_database()`.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from fine_tune_assets_tests.system_programs import POSTGRESQL, require_program

HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class PostgresServer:
    host: str
    port: int
    user: str
    password: str

    def create_database(self, template: str = "template1") -> str:
        """Create a database from a template, which must have no open connections, and return its name."""
        name = f"test_{secrets.token_hex(6)}"
        connection = self.connect("postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        connection.close()
        return name

    def url(self, database: str, driver: str = "postgresql") -> str:
        return f"{driver}://{self.user}:{self.password}@{self.host}:{self.port}/{database}"

    def connect(self, database: str) -> Any:
        return psycopg2.connect(host=self.host, port=self.port, user=self.user, password=self.password, dbname=database)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="fta-postgres-"))
    process = None
    try:
        server = _create(folder)
        process = _start(folder, server)
        yield server
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _create(folder: Path) -> PostgresServer:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    server = PostgresServer(HOST, port, "tester", secrets.token_hex(16))
    password_file = folder / "password"
    password_file.write_text(server.password)
    if os.geteuid() == 0:
        for path in (folder, password_file):
            os.chown(path, _account().pw_uid, _account().pw_gid)
    subprocess.run(
        [
            _program("initdb"), "--pgdata", str(folder / "data"), "--username", server.user, "--auth", "scram-sha-256",
            "--pwfile", str(password_file), "--encoding", "UTF8", "--locale", "C", "--no-sync",
        ],
        check=True, capture_output=True, cwd=folder, **_as_account(),
    )  # fmt: skip
    return server


def _start(folder: Path, server: PostgresServer) -> "subprocess.Popen[bytes]":
    options = {
        "listen_addresses": HOST, "port": server.port, "unix_socket_directories": str(folder),
        "fsync": "off", "full_page_writes": "off", "autovacuum": "off", "wal_level": "minimal", "max_wal_senders": 0,
        "max_connections": 100, "shared_buffers": "32MB",
    }  # fmt: skip
    arguments = [argument for name, value in options.items() for argument in ("-c", f"{name}={value}")]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [_program("postgres"), "-D", str(folder / "data"), *arguments],
        stdout=log, stderr=log, cwd=folder, **_as_account(),
    )  # fmt: skip
    log.close()
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            server.connect("postgres").close()
            return process
        except psycopg2.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"PostgreSQL did not start:\n{(folder / 'log').read_text()}") from None
            time.sleep(0.1)


def _program(name: str) -> str:
    """A program of the newest server."""
    return str(Path(require_program(POSTGRESQL)).with_name(name))


def _account() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root, so use its account or an unprivileged one."""
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _as_account() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": _account().pw_uid, "group": _account().pw_gid, "extra_groups": []}
