"""Asks the gateway in the name of whoever is signed in: answers as they come, corrections and thumbs.

Owns the HTTP and the desk's own key, which is made at first use and lies in the keys folder for this user alone. With it the desk
may ask and correct in the name of whoever is signed in, with the labels that they have, and nothing else. The desk never asks an
engine, so that every answer passes the gateway's limits, its log and its checks. Nothing of what is asked or answered is kept or
logged here.
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
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.web_services import LOOPBACK_HOSTS
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.people.api_keys import create_key, list_keys, rotate_key
from fine_tune_assets.ledger.people.sessions import Session

KEY_FILE = "desk-gateway.key"
NAME = "desk"
SCOPES = ("chat", "correct", "act_for", "act_for_any_label")
_WAIT_SECONDS = 2.0
_NEXT_SECONDS = 60.0
"""Beyond what the gateway itself waits for an engine."""
_AWAY = "The gateway can't be reached. Ask again in a moment; tell an operator if it stays so."
_KEY_REFUSED = (
    "The gateway does not take the desk's key. An operator can remove its file (desk-gateway.key in the keys folder) and revoke "
    "the key named desk; a new one is made then."
)


class GatewayRefusedError(Exception):
    """No answer, and why, in words for people that quote nothing of what was sent."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Answered:
    """A whole answer, and what the gateway told of it."""

    text: str
    release_id: str
    index: str = ""
    """Fingerprint of the knowledge index, `none` if none is live; empty if no document was asked."""
    citations: tuple[Mapping[str, Any], ...] | None = None
    check: Mapping[str, Any] | None = None
    is_cut: bool = False
    """It reached the longest that an answer may be."""

    @property
    def passage_ids(self) -> tuple[str, ...]:
        return tuple(str(one["passage_id"]) for one in self.citations or ())


@dataclass(frozen=True)
class Kept:
    """What the gateway kept of a correction or a thumb."""

    kept_as: str
    are_passages_gone: bool = False
    """It named passages, and no index holds them any more."""


@dataclass
class _Stream:
    """What has come of an answer."""

    release_id: str
    index: str
    text: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    finish: str | None = None

    def take(self, event: Mapping[str, Any]) -> str:
        """The text of the next event. Raises GatewayRefusedError."""
        if "error" in event:
            raise GatewayRefusedError(502, str(event["error"]["message"]))
        self.told |= {name: event[name] for name in ("citations", "citation_check") if name in event}
        said = ""
        for choice in event.get("choices", ()):
            said += (choice.get("delta") or {}).get("content") or ""
            self.finish = choice.get("finish_reason") or self.finish
        self.text.append(said)
        return said

    @property
    def answered(self) -> Answered:
        citations = self.told.get("citations")
        return Answered(
            "".join(self.text),
            self.release_id,
            self.index,
            None if citations is None else tuple(citations),
            self.told.get("citation_check"),
            self.finish == "length",
        )


class GatewayClient:
    """A connection is opened for each request: people ask now and then."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Raises SettingsError if the desk's key would travel in clear text."""
        self._settings, self._ledger, self._url = settings, ledger, settings.gateway_of_desk
        parts = urlsplit(self._url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
            raise SettingsError("desk.gateway_url must be https://NAME, or http on this machine.")

    async def ask(self, content: str, person: Session) -> AsyncIterator[str | Answered]:
        """Pieces of text as they come, then all of it. Raises GatewayRefusedError."""
        body = {"messages": [{"role": "user", "content": content}], "stream": True}
        headers = await self._headers(person)
        try:
            async with (
                self._client() as client,
                client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as reply,
            ):
                if reply.status_code != 200:
                    await reply.aread()
                    raise _refusal(reply)
                stream = _Stream(reply.headers.get("x-release-id", ""), reply.headers.get("x-knowledge-index", ""))
                async for line in reply.aiter_lines():
                    if line == "data: [DONE]":
                        yield stream.answered
                        return
                    if line.startswith("data: ") and (said := stream.take(json.loads(line[6:]))):
                        yield said
        except httpx.HTTPError as error:
            raise GatewayRefusedError(503, _AWAY) from error
        raise GatewayRefusedError(502, "The answer broke off before its end. Ask again.")

    async def correct(self, body: Mapping[str, Any], person: Session, idempotency_key: str) -> Kept:
        """Keep a correction or a thumb: answered once it is on disk. Raises GatewayRefusedError."""
        headers = await self._headers(person) | {"idempotency-key": idempotency_key}
        try:
            async with self._client() as client:
                reply = await client.post("/v1/corrections", json=body, headers=headers)
        except httpx.HTTPError as error:
            raise GatewayRefusedError(503, _AWAY) from error
        if reply.status_code != 201:
            raise _refusal(reply)
        said = reply.json()
        return Kept(str(said["id"]), said.get("passages") == "gone")

    async def _headers(self, person: Session) -> dict[str, str]:
        try:
            key = await run_in_threadpool(desk_key, self._ledger, self._settings.layout.keys)
        except SQLAlchemyError as error:
            raise GatewayRefusedError(503, "The ledger can't be reached. Ask again in a moment.") from error
        except FineTuneError as error:
            raise GatewayRefusedError(502, str(error)) from error
        labels = " ".join(sorted(person.labels))  # sent where there are none too: else the key's own would count
        return {
            "authorization": f"Bearer {key}",
            "x-on-behalf-of": quote(person.name),
            "x-on-behalf-of-labels": labels,
        }

    def _client(self) -> httpx.AsyncClient:
        timeout = httpx.Timeout(self._settings.gateway.timeout_seconds + _NEXT_SECONDS, connect=5.0)
        return httpx.AsyncClient(base_url=self._url, verify=self._tls, timeout=timeout, trust_env=False)

    @cached_property
    def _tls(self) -> ssl.SSLContext | bool:
        """Read once: it takes longer than most pages."""
        return tls_to_gateway(self._settings)


def tls_to_gateway(settings: Settings) -> ssl.SSLContext | bool:
    """What httpx verifies a gateway at `gateway_of_desk` with; False for plain http."""
    if not settings.gateway_of_desk.startswith("https"):
        return False
    return ssl.create_default_context(cafile=settings.desk.gateway_ca or None)


def _refusal(reply: httpx.Response) -> GatewayRefusedError:
    if reply.status_code in (401, 403):
        return GatewayRefusedError(502, _KEY_REFUSED)
    try:
        message = str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"The gateway failed (HTTP {reply.status_code})."
    return GatewayRefusedError(reply.status_code, message)


def desk_key(ledger: Ledger, folder: Path) -> str:
    """The key. Raises SettingsError if others can read its file, LedgerError if the ledger holds another key of its name."""
    path = folder / KEY_FILE
    if not path.is_file():
        with suppress(LedgerError):  # another process of the desk was quicker
            create_private_file(path, create_key(ledger, NAME, SCOPES, by=NAME).secret.encode())
        _wait_for(path)
    if not path.is_file():
        create_private_file(path, _made_anew(ledger).encode())
    return read_private_file(path).decode().strip()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)


def _made_anew(ledger: Ledger) -> str:
    """The file is lost: the key that is there gets another secret, and the lost one opens nothing any more."""
    own = next((key for key in list_keys(ledger) if key.name == NAME and key.revoked_at is None), None)
    if own is None or set(own.scopes) != set(SCOPES):
        raise LedgerError(
            f"The desk needs a gateway key named {NAME} with the scopes {', '.join(SCOPES)}, and there is another one of that "
            "name. Revoke it: `fine-tune keys list`, then `fine-tune keys revoke ID`."
        )
    return rotate_key(ledger, own.key_id, timedelta(0), by=NAME).secret
