"""HTTP client for the gateway: streams answers and sends corrections and ratings on behalf of the signed-in user.

The desk's API key is created at first use and stored in the keys folder, readable only by the desk's operating-system user. It
allows requests and corrections on behalf of users, with their access labels, and nothing else. The desk never calls an engine
directly, so that the gateway's limits, log and checks apply to every answer. Questions and answers are neither stored nor logged.
"""

import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from fine_tune_assets.core.errors import FineTuneError, SettingsError
from fine_tune_assets.core.keys import create_private_file, read_private_file
from fine_tune_assets.core.line_names import MAIN_LINE, name_line
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.web_services import LOOPBACK_HOSTS
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.people.api_keys import create_key, list_keys, rotate_key
from fine_tune_assets.ledger.people.sessions import Session

KEY_FILE = "desk-gateway.key"
DESK_KEY_NAME = "desk"
DESK_KEY_SCOPES = ("chat", "correct", "on_behalf_of", "on_behalf_of_any_label")
_KEY_FILE_WAIT_SECONDS = 2.0
_EXTRA_TIMEOUT_SECONDS = 60.0
"""Added to the gateway's own timeout for an engine."""
_UNAVAILABLE = "The gateway can't be reached. Try again in a moment. If it persists, tell an operator."
_KEY_REFUSED = (
    "The gateway rejects the desk's key. An operator can delete the file desk-gateway.key in the keys folder and revoke the key "
    "named desk (`fine-tune keys list`, then `fine-tune keys revoke ID`). The desk then creates a new key."
)


class GatewayRefusedError(Exception):
    """The gateway gave no answer. The message is written for users and quotes nothing of the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, name_line(message)


@dataclass(frozen=True)
class GatewayAnswer:
    """A complete answer with the gateway's metadata."""

    text: str
    release_id: str
    knowledge_index: str = ""
    """Fingerprint of the knowledge index, `none` if none is live; empty if the answer used no retrieval."""
    citations: tuple[Mapping[str, Any], ...] | None = None
    citation_check: Mapping[str, Any] | None = None
    is_truncated: bool = False
    """The answer reached the maximum length."""

    @property
    def passage_ids(self) -> tuple[str, ...]:
        return tuple(str(one["passage_id"]) for one in self.citations or ())


@dataclass(frozen=True)
class CorrectionReceipt:
    """The gateway's receipt of a correction or a rating."""

    correction_id: str
    has_missing_passages: bool = False
    """The correction names passages that no index contains any longer."""


@dataclass
class _Stream:
    """The part of an answer received so far."""

    release_id: str
    index: str
    text: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None

    def consume(self, event: Mapping[str, Any]) -> str:
        """The text of the next event. Raises GatewayRefusedError."""
        if "error" in event:
            raise GatewayRefusedError(502, str(event["error"]["message"]))
        self.metadata |= {name: event[name] for name in ("citations", "citation_check") if name in event}
        piece = ""
        for choice in event.get("choices", ()):
            piece += (choice.get("delta") or {}).get("content") or ""
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        self.text.append(piece)
        return piece

    @property
    def answer(self) -> GatewayAnswer:
        citations = self.metadata.get("citations")
        return GatewayAnswer(
            "".join(self.text),
            self.release_id,
            self.index,
            None if citations is None else tuple(citations),
            self.metadata.get("citation_check"),
            self.finish_reason == "length",
        )


class GatewayClient:
    """Opens a connection for each request, because requests are rare."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Raises SettingsError if the desk's key would be sent unencrypted."""
        self._settings, self._ledger, self._url = settings, ledger, settings.desk_gateway_address
        parts = urlsplit(self._url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
            raise SettingsError("desk.gateway_url must be https://NAME, or http://127.0.0.1:PORT on this machine.")

    async def stream_answer(self, content: str, session: Session) -> AsyncIterator[str | GatewayAnswer]:
        """Yields pieces of text as they arrive, then the complete answer. Raises GatewayRefusedError."""
        model = self._settings.line or MAIN_LINE
        body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": True}
        headers = await self._make_headers(session)
        try:
            async with (
                self._make_client() as client,
                client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as reply,
            ):
                if reply.status_code != 200:
                    await reply.aread()
                    raise _make_refusal(reply)
                stream = _Stream(reply.headers.get("x-release-id", ""), reply.headers.get("x-knowledge-index", ""))
                async for line in reply.aiter_lines():
                    if line == "data: [DONE]":
                        yield stream.answer
                        return
                    if line.startswith("data: ") and (piece := stream.consume(json.loads(line[6:]))):
                        yield piece
        except httpx.HTTPError as error:
            raise GatewayRefusedError(503, _UNAVAILABLE) from error
        raise GatewayRefusedError(502, "The answer is incomplete: the connection ended early. Ask again.")

    async def send_correction(
        self, body: Mapping[str, Any], session: Session, idempotency_key: str
    ) -> CorrectionReceipt:
        """Send a correction or a rating; returns after the gateway stored it on disk. Raises GatewayRefusedError."""
        headers = await self._make_headers(session) | {"idempotency-key": idempotency_key}
        try:
            async with self._make_client() as client:
                reply = await client.post("/v1/corrections", json=body, headers=headers)
        except httpx.HTTPError as error:
            raise GatewayRefusedError(503, _UNAVAILABLE) from error
        if reply.status_code != 201:
            raise _make_refusal(reply)
        receipt = reply.json()
        return CorrectionReceipt(str(receipt["id"]), receipt.get("passages") == "unavailable")

    async def _make_headers(self, person: Session) -> dict[str, str]:
        try:
            key = await run_in_threadpool(read_or_create_desk_key, self._ledger, self._settings.layout.keys)
        except SQLAlchemyError as error:
            raise GatewayRefusedError(503, "The ledger can't be reached. Try again in a moment.") from error
        except FineTuneError as error:
            raise GatewayRefusedError(502, str(error)) from error
        labels = " ".join(sorted(person.labels))  # also sent when empty; otherwise the gateway uses the key's labels
        return {
            "authorization": f"Bearer {key}",
            "x-on-behalf-of": quote(person.name),
            "x-on-behalf-of-labels": labels,
        }

    def _make_client(self) -> httpx.AsyncClient:
        timeout = httpx.Timeout(self._settings.gateway.timeout_seconds + _EXTRA_TIMEOUT_SECONDS, connect=5.0)
        return httpx.AsyncClient(base_url=self._url, verify=self._tls, timeout=timeout, trust_env=False)

    @cached_property
    def _tls(self) -> ssl.SSLContext | bool:
        """Cached: loading the certificates takes longer than most pages."""
        return make_gateway_tls(self._settings)


def make_gateway_tls(settings: Settings) -> ssl.SSLContext | bool:
    """The TLS context for the gateway at `desk_gateway_address`; False for plain http."""
    if not settings.desk_gateway_address.startswith("https"):
        return False
    return ssl.create_default_context(cafile=settings.desk.gateway_ca or None)


def _make_refusal(reply: httpx.Response) -> GatewayRefusedError:
    if reply.status_code in (401, 403):
        return GatewayRefusedError(502, _KEY_REFUSED)
    try:
        message = str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"The gateway failed (HTTP {reply.status_code})."
    return GatewayRefusedError(reply.status_code, message)


def read_or_create_desk_key(ledger: Ledger, folder: Path) -> str:
    """The desk's API key.

    Raises SettingsError if other users can read its file, LedgerError if the ledger has another key of that name.
    """
    path = folder / KEY_FILE
    if not path.is_file():
        with suppress(LedgerError):  # another process of the desk created it first
            create_private_file(
                path, create_key(ledger, DESK_KEY_NAME, DESK_KEY_SCOPES, by=DESK_KEY_NAME).secret.encode()
            )
        _wait_for_file(path)
    if not path.is_file():
        create_private_file(path, _rotate_lost_key(ledger).encode())
    return read_private_file(path).decode().strip()


def _wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + _KEY_FILE_WAIT_SECONDS
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)


def _rotate_lost_key(ledger: Ledger) -> str:
    """Replace the secret of the key whose file is lost; the old secret stops working at once."""
    own = next((key for key in list_keys(ledger) if key.name == DESK_KEY_NAME and key.revoked_at is None), None)
    if own is None or set(own.scopes) != set(DESK_KEY_SCOPES):
        raise LedgerError(
            f"The gateway key named {DESK_KEY_NAME} does not have the scopes that the desk needs: {', '.join(DESK_KEY_SCOPES)}. "
            "Revoke it: `fine-tune keys list`, then `fine-tune keys revoke ID`."
        )
    return rotate_key(ledger, own.key_id, timedelta(0), by=DESK_KEY_NAME).secret
