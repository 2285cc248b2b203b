"""Sends notifications to the configured webhook and mail server, once per message and channel.

A failure is recorded and never raised.
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
from fine_tune_assets.ledger.notification_log import is_attempt_due, record_attempt
from fine_tune_assets.notifications.messages import Message, parse_events

Send = Callable[[Settings, Message], None]


def configured_channels(settings: Settings) -> Mapping[str, Send]:
    """The channels that the settings configure; none by default."""
    channels: dict[str, Send] = {}
    if settings.notify.webhook_url:
        channels["webhook"] = send_webhook
    if settings.notify.smtp and settings.notify.mail_to:
        channels["mail"] = send_mail
    return channels


def is_due(settings: Settings, ledger: Ledger, event: str, about: str, now: datetime) -> bool:
    """Whether `notify` would try to send such a message on any channel now."""
    is_enabled = event in parse_events(settings.notify.events)
    return is_enabled and any(
        is_attempt_due(ledger, event, about, channel, now) for channel in configured_channels(settings)
    )


def notify(settings: Settings, ledger: Ledger, message: Message, now: datetime) -> dict[str, str | None]:
    """Send on every channel where the message is due and not sent yet. Never raises a delivery error.

    Returns channel → name of the error's type, None if the message was sent.
    """
    if message.event not in parse_events(settings.notify.events):
        return {}
    outcome: dict[str, str | None] = {}
    for channel, send in configured_channels(settings).items():
        if not is_attempt_due(ledger, message.event, message.about, channel, now):
            continue
        error = None
        try:
            send(settings, message)
        except Exception as failure:  # noqa: BLE001 (a fault of an external server must not fail the caller)
            error = type(failure).__name__
        record_attempt(ledger, message.event, message.about, channel, error, now)
        outcome[channel] = error
    return outcome


def send_webhook(settings: Settings, message: Message) -> None:
    """POST as JSON. Ignores redirects and proxy variables, so that nothing is sent to a host that is not configured."""
    with httpx.Client(timeout=settings.notify.timeout_seconds, trust_env=False, follow_redirects=False) as client:
        reply = client.post(settings.notify.webhook_url, json=message.as_json)
    if not reply.is_success:
        raise ConnectionError(f"The webhook answered {reply.status_code}.")


def send_mail(settings: Settings, message: Message) -> None:
    host, port = _parse_host_and_port(settings.notify.smtp)
    mail = EmailMessage()
    mail["Subject"] = message.subject
    mail["From"] = settings.notify.mail_from or settings.notify.mail_to.split(",")[0].strip()
    mail["To"] = settings.notify.mail_to
    mail.set_content(message.body)
    with smtplib.SMTP(host, port, timeout=settings.notify.timeout_seconds) as server:
        if settings.notify.smtp_starttls:
            server.starttls(context=ssl.create_default_context())
        if settings.notify.smtp_user:
            password = Path(settings.notify.smtp_password_file).read_text(encoding="utf-8").strip()
            server.login(settings.notify.smtp_user, password)
        server.send_message(mail)


def _parse_host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingsError("notify.smtp must be HOST:PORT.")
    return host, int(port)
