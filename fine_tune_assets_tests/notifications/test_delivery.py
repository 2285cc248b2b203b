"""Messages to a real HTTP server and a real mail server: sent once, in time, without text, and failing nothing."""

import json
import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.notifications import FIRST_WAIT, GIVEN_UP_AFTER, LONGEST_WAIT, MOST_TRIES
from fine_tune_assets.notifications.delivery import notify
from fine_tune_assets.notifications.messages import EVENTS, Message, kind_of_error, wanted_events
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.loopback import serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MESSAGE = Message("run_failed", "run-1", ("adapters",), "RecipeError", "http://127.0.0.1:3000/runs/run-1")
LIMIT_SECONDS = 1


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, notify={"seconds": LIMIT_SECONDS, "smtp_starttls": False})


@contextmanager
def web_server(status: int = 200, wait_seconds: float = 0, headers: dict[str, str] | None = None) -> Iterator[Any]:
    """Its address, and what was posted to it."""
    posted: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            posted.append((self.path, json.loads(body)))
            time.sleep(wait_seconds)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}/hook", posted


@contextmanager
def mail_server(is_silent: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the mails that it took. A silent one says nothing at all."""
    mails: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if is_silent:
                time.sleep(LIMIT_SECONDS + 2)
                return
            self._say("220 ready")
            while line := self.rfile.readline().decode().strip():
                verb = line.split(":")[0].split(" ")[0].upper()
                if verb == "DATA":
                    self._say("354 go on")
                    lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                    mails.append("".join(lines))
                self._say("221 bye" if verb == "QUIT" else "250 ok")
                if verb == "QUIT":
                    return

        def _say(self, words: str) -> None:
            self.wfile.write(f"{words}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with serving(server):
        yield f"127.0.0.1:{server.server_address[1]}", mails


def test_both_are_told_once(settings: Settings, ledger: Ledger) -> None:
    """A sensor looks every half minute at the same news."""
    with web_server() as (url, posted), mail_server() as (address, mails):
        told = changed(settings, notify={"webhook": url, "smtp": address, "mail_to": "ops@example.org"})
        assert notify(told, ledger, MESSAGE, NOW) == {"webhook": None, "mail": None}
        assert notify(told, ledger, MESSAGE, NOW) == {}
    assert posted == [("/hook", MESSAGE.as_json)]
    (mail,) = mails
    for part in ("ops@example.org", "run-1", "adapters", "RecipeError", MESSAGE.link):
        assert part in mail, part


def test_nobody_is_told_unless_the_settings_name_somebody(settings: Settings, ledger: Ledger) -> None:
    """By default nothing leaves this machine."""
    assert notify(settings, ledger, MESSAGE, NOW) == {}
    assert notify(changed(settings, notify={"smtp": "127.0.0.1:25"}), ledger, MESSAGE, NOW) == {}


def test_an_event_that_nobody_wants_is_not_told(settings: Settings, ledger: Ledger) -> None:
    """Too many messages are read by nobody."""
    with web_server() as (url, posted):
        told = changed(settings, notify={"webhook": url, "events": "rolled_back"})
        assert notify(told, ledger, MESSAGE, NOW) == {}
    assert posted == []


@pytest.mark.parametrize(
    ("fault", "fails"),
    [
        ("no password file", {"mail"}),
        ("no tls", {"mail"}),
        ("status 500", {"webhook"}),
        ("silent", {"webhook", "mail"}),
        ("no server", {"webhook", "mail"}),
    ],
)
def test_a_server_that_fails_fails_nothing_and_is_asked_again_later(
    settings: Settings, ledger: Ledger, fault: str, fails: set[str]
) -> None:
    """The run has failed; that the mail failed too must not be the end of the sensor."""
    is_silent = fault == "silent"
    web = web_server(500 if fault == "status 500" else 200, (LIMIT_SECONDS + 2) * is_silent)
    with web as (url, _), mail_server(is_silent) as (address, mails):
        if fault == "no server":
            url, address = "http://127.0.0.1:9/hook", "127.0.0.1:9"
        told = changed(settings, notify={"webhook": url, "smtp": address, "mail_to": "ops@example.org"})
        told = changed(told, notify={"smtp_starttls": fault == "no tls"})
        if fault == "no password file":
            told = changed(told, notify={"smtp_user": "ops", "smtp_password_file": "/nowhere"})
        outcomes = [notify(told, ledger, MESSAGE, NOW + wait) for wait in (timedelta(0), FIRST_WAIT)]
        assert notify(told, ledger, MESSAGE, NOW + FIRST_WAIT) == {}
    for channel in ("webhook", "mail"):
        tried = [outcome[channel] for outcome in outcomes if channel in outcome]
        assert tried == [None] if channel not in fails else len(tried) == 2 and all(tried)
    assert len(mails) == ("mail" not in fails)


def test_a_server_that_is_away_for_hours_is_told_when_it_is_back(settings: Settings, ledger: Ledger) -> None:
    """A mail server that is mended in the night loses no failed run, and is not asked every half minute till then."""
    told = changed(settings, notify={"webhook": "http://127.0.0.1:9/hook"})
    ticks = [NOW + timedelta(seconds=30 * n) for n in range(6 * 120)]
    tries = [tick for tick in ticks if notify(told, ledger, MESSAGE, tick) == {"webhook": "ConnectError"}]
    waits = [round((later - earlier).total_seconds() / 30) for earlier, later in pairwise(tries)]
    assert waits == [1, 2, 4, 8, 16, 32, *[60] * 10]
    with web_server() as (url, posted):
        told = changed(settings, notify={"webhook": url})
        assert notify(told, ledger, MESSAGE, tries[-1] + LONGEST_WAIT) == {"webhook": None}
        assert notify(told, ledger, MESSAGE, tries[-1] + 2 * LONGEST_WAIT) == {}
    assert len(posted) == 1


def test_a_server_that_never_comes_back_is_given_up(settings: Settings, ledger: Ledger) -> None:
    """A host that was switched off is not asked for ever."""
    told = changed(settings, notify={"webhook": "http://127.0.0.1:9/hook"})
    ticks = [NOW + timedelta(minutes=20 * n) for n in range(2 * 72)]
    tries = [tick for tick in ticks if notify(told, ledger, MESSAGE, tick)]
    assert len(tries) < MOST_TRIES
    assert timedelta(hours=23) < tries[-1] - NOW < GIVEN_UP_AFTER


def test_no_redirect_is_followed(settings: Settings, ledger: Ledger) -> None:
    """It would lead the message to a host that nobody named."""
    with web_server() as (elsewhere, posted), web_server(307, headers={"location": elsewhere}) as (url, _):
        assert notify(changed(settings, notify={"webhook": url}), ledger, MESSAGE, NOW) == {
            "webhook": "ConnectionError"
        }
    assert posted == []


def test_of_an_error_only_its_class_is_told() -> None:
    """What follows may quote a report."""
    assert kind_of_error("GateClosedError: Zebrafinch") == "GateClosedError"
    assert kind_of_error("dagster._core.definitions.events.Failure: RecipeError: Zebrafinch") == "RecipeError"
    assert kind_of_error("OSError") == "OSError"
    for said in ("the patient Zebrafinch", "Zebrafinch: a cough", "There is no recipe", "Zebrafinch", "Errors seen"):
        assert kind_of_error(f"dagster._core.definitions.events.Failure: {said}") == ""
        assert kind_of_error(said) == ""
    assert kind_of_error("") == ""


def test_an_event_that_there_is_not_is_refused() -> None:
    """A misspelt name would be silence."""
    assert wanted_events(Settings().notify.events) == frozenset(EVENTS)
    with pytest.raises(SettingsError, match="verdict_held"):
        wanted_events("run_failed, verdict_held")
