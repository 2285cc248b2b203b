"""Sends a message to the webhook and the mail server that the settings name, and to nobody else.

Owns the two channels, their time limits, and that each message is sent once on each. A failure is recorded and never raised.
"""

import smtplib
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path

import httpx

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.notifications import may_try, record_attempt
from fine_tune_assets.notifications.messages import Message, wanted_events

Send = Callable[[Settings, Message], None]


def channels(settings: Settings) -> Mapping[str, Send]:
    """Those that the settings name: none by default, and nothing is sent."""
    found: dict[str, Send] = {}
    if settings.notify.webhook:
        found["webhook"] = send_webhook
    if settings.notify.smtp and settings.notify.mail_to:
        found["mail"] = send_mail
    return found


def is_untold(settings: Settings, ledger: Ledger, event: str, about: str, now: datetime) -> bool:
    """Whether a message about it would be tried on any channel now."""
    wanted = event in wanted_events(settings.notify.events)
    return wanted and any(may_try(ledger, event, about, channel, now) for channel in channels(settings))


def notify(settings: Settings, ledger: Ledger, message: Message, now: datetime) -> dict[str, str | None]:
    """Send on every channel that has not had it yet and is due: channel → kind of error, None if it was sent.

    Raises no error of sending.
    """
    if message.event not in wanted_events(settings.notify.events):
        return {}
    outcome: dict[str, str | None] = {}
    for channel, send in channels(settings).items():
        if not may_try(ledger, message.event, message.about, channel, now):
            continue
        error = None
        try:
            send(settings, message)
        except Exception as failure:  # noqa: BLE001 (whatever a foreign server does, it fails nothing here)
            error = type(failure).__name__
        record_attempt(ledger, message.event, message.about, channel, error, now)
        outcome[channel] = error
    return outcome


def send_webhook(settings: Settings, message: Message) -> None:
    """POST as JSON. No redirect is followed and no proxy of the environment used: it would lead to a host that nobody named."""
    with httpx.Client(timeout=settings.notify.seconds, trust_env=False, follow_redirects=False) as client:
        reply = client.post(settings.notify.webhook, json=message.as_json)
    if not reply.is_success:
        raise ConnectionError(f"The webhook answered {reply.status_code}.")


def send_mail(settings: Settings, message: Message) -> None:
    host, port = _host_and_port(settings.notify.smtp)
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = settings.notify.mail_from or settings.notify.mail_to.split(",")[0].strip()
    mail["To"] = settings.notify.mail_to
    mail.set_content(message.body)
    with smtplib.SMTP(host, port, timeout=settings.notify.seconds) as server:
        if settings.notify.smtp_starttls:
            server.starttls(context=ssl.create_default_context())
        if settings.notify.smtp_user:
            password = Path(settings.notify.smtp_password_file).read_text(encoding="utf-8").strip()
            server.login(settings.notify.smtp_user, password)
        server.send_message(mail)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingsError("notify.smtp must be HOST:PORT.")
    return host, int(port)
