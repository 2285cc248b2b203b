"""Delivery to real HTTP and mail servers: once, within the time limit, without report text, and without raising errors."""

import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.notification_log import FIRST_RETRY_DELAY, MAX_ATTEMPTS, MAX_RETRY_DELAY, RETRY_WINDOW
from fine_tune_assets.notifications.delivery import notify
from fine_tune_assets.notifications.messages import EVENTS, Message, extract_error_type, parse_events
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.loopback import serving
from fine_tune_assets_tests.notifications.web_server import web_server

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MESSAGE = Message("run_failed", "run-1", ("adapters",), "RecipeError", "http://127.0.0.1:3000/runs/run-1")
LIMIT_SECONDS = 1


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, notify={"timeout_seconds": LIMIT_SECONDS, "smtp_starttls": False})


@contextmanager
def mail_server(is_silent: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Yields the address and the received mails. With `is_silent`, the server never responds."""
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


def test_each_channel_gets_a_message_once(settings: Settings, ledger: Ledger) -> None:
    """The sensor checks the same events every 30 seconds."""
    with web_server() as (url, posted), mail_server() as (address, mails):
        configured = changed(settings, notify={"webhook_url": url, "smtp": address, "mail_to": "ops@example.org"})
        assert notify(configured, ledger, MESSAGE, NOW) == {"webhook": None, "mail": None}
        assert notify(configured, ledger, MESSAGE, NOW) == {}
    assert posted == [("/hook", MESSAGE.as_json)]
    (mail,) = mails
    for part in ("ops@example.org", "run-1", "adapters", "RecipeError", MESSAGE.link):
        assert part in mail, part


def test_nothing_is_sent_without_a_configured_channel(settings: Settings, ledger: Ledger) -> None:
    """By default nothing leaves this machine."""
    assert notify(settings, ledger, MESSAGE, NOW) == {}
    assert notify(changed(settings, notify={"smtp": "127.0.0.1:25"}), ledger, MESSAGE, NOW) == {}


def test_an_event_that_is_not_enabled_is_not_sent(settings: Settings, ledger: Ledger) -> None:
    """Operators select the events that they want."""
    with web_server() as (url, posted):
        configured = changed(settings, notify={"webhook_url": url, "events": "rolled_back"})
        assert notify(configured, ledger, MESSAGE, NOW) == {}
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
def test_a_failing_server_raises_no_error_and_is_retried(
    settings: Settings, ledger: Ledger, fault: str, fails: set[str]
) -> None:
    """A failed delivery must not stop the sensor."""
    is_silent = fault == "silent"
    web = web_server(500 if fault == "status 500" else 200, (LIMIT_SECONDS + 2) * is_silent)
    with web as (url, _), mail_server(is_silent) as (address, mails):
        if fault == "no server":
            url, address = "http://127.0.0.1:9/hook", "127.0.0.1:9"
        configured = changed(settings, notify={"webhook_url": url, "smtp": address, "mail_to": "ops@example.org"})
        configured = changed(configured, notify={"smtp_starttls": fault == "no tls"})
        if fault == "no password file":
            configured = changed(configured, notify={"smtp_user": "ops", "smtp_password_file": "/nowhere"})
        outcomes = [notify(configured, ledger, MESSAGE, NOW + wait) for wait in (timedelta(0), FIRST_RETRY_DELAY)]
        assert notify(configured, ledger, MESSAGE, NOW + FIRST_RETRY_DELAY) == {}
    for channel in ("webhook", "mail"):
        tried = [outcome[channel] for outcome in outcomes if channel in outcome]
        assert tried == [None] if channel not in fails else len(tried) == 2 and all(tried)
    assert len(mails) == ("mail" not in fails)


def test_a_message_is_delivered_when_a_server_is_back_after_hours(settings: Settings, ledger: Ledger) -> None:
    """Retries back off, and no message is lost."""
    configured = changed(settings, notify={"webhook_url": "http://127.0.0.1:9/hook"})
    ticks = [NOW + timedelta(seconds=30 * n) for n in range(6 * 120)]
    tries = [tick for tick in ticks if notify(configured, ledger, MESSAGE, tick) == {"webhook": "ConnectError"}]
    waits = [round((later - earlier).total_seconds() / 30) for earlier, later in pairwise(tries)]
    assert waits == [1, 2, 4, 8, 16, 32, *[60] * 10]
    with web_server() as (url, posted):
        configured = changed(settings, notify={"webhook_url": url})
        assert notify(configured, ledger, MESSAGE, tries[-1] + MAX_RETRY_DELAY) == {"webhook": None}
        assert notify(configured, ledger, MESSAGE, tries[-1] + 2 * MAX_RETRY_DELAY) == {}
    assert len(posted) == 1


def test_retries_end_if_a_server_never_comes_back(settings: Settings, ledger: Ledger) -> None:
    """A decommissioned host must not be contacted forever."""
    configured = changed(settings, notify={"webhook_url": "http://127.0.0.1:9/hook"})
    ticks = [NOW + timedelta(minutes=20 * n) for n in range(2 * 72)]
    tries = [tick for tick in ticks if notify(configured, ledger, MESSAGE, tick)]
    assert len(tries) < MAX_ATTEMPTS
    assert timedelta(hours=23) < tries[-1] - NOW < RETRY_WINDOW


def test_no_redirect_is_followed(settings: Settings, ledger: Ledger) -> None:
    """It would send the message to a host that is not configured."""
    with web_server() as (elsewhere, posted), web_server(307, headers={"location": elsewhere}) as (url, _):
        assert notify(changed(settings, notify={"webhook_url": url}), ledger, MESSAGE, NOW) == {
            "webhook": "ConnectionError"
        }
    assert posted == []


def test_only_the_type_of_an_error_is_sent() -> None:
    """The message may quote a report."""
    assert extract_error_type("GateClosedError: Zebrafinch") == "GateClosedError"
    assert extract_error_type("dagster._core.definitions.events.Failure: RecipeError: Zebrafinch") == "RecipeError"
    assert extract_error_type("OSError") == "OSError"
    for said in ("the patient Zebrafinch", "Zebrafinch: a cough", "There is no recipe", "Zebrafinch", "Errors seen"):
        assert extract_error_type(f"dagster._core.definitions.events.Failure: {said}") == ""
        assert extract_error_type(said) == ""
    assert extract_error_type("") == ""


def test_an_unknown_event_is_refused() -> None:
    """A misspelt name would silently disable notifications."""
    assert parse_events(Settings().notify.events) == frozenset(EVENTS)
    with pytest.raises(SettingsError, match="verdict_held"):
        parse_events("run_failed, verdict_held")
