"""What is known of a request while it goes on: who asks, of which release, how many tokens, how it ended. No text."""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from fine_tune_assets.gateway.callers.callers import Caller
from fine_tune_assets.gateway.records.journal import Entry
from fine_tune_assets.ledger.audit.requests import RequestLine

MOST_HEARD = 1_000_000


@dataclass
class Record:
    route: str
    started: float = field(default_factory=time.monotonic)
    caller: Caller | None = None
    release_id: str | None = None
    prompt_hash: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    identifiers: int | None = None
    """Found in the answer; None where nobody looked."""
    passages: int | None = None
    """Of documents that were given to the model; None where none were looked for."""
    heard: list[bytes] | None = None
    """The answer as it went out, for its features; None where nobody reads them."""
    heard_bytes: int = 0
    status: int | None = None
    code: str | None = None
    first_token_seconds: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Added to the answer."""

    def hash_prompt(self, key: bytes, asked: Any) -> None:
        """Where nothing was asked there is nothing to hash."""
        if asked is None:
            return
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        self.prompt_hash = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def note_first_token(self) -> None:
        if self.first_token_seconds is None:
            self.first_token_seconds = time.monotonic() - self.started

    def begin_again(self) -> None:
        """What was noted of an answer that nobody gets is forgotten: another release is asked."""
        self.tokens_in = self.tokens_out = self.identifiers = self.passages = self.first_token_seconds = None
        self.heard, self.heard_bytes = None if self.heard is None else [], 0

    def hear(self, payload: bytes) -> None:
        """Of a very long answer the beginning."""
        if self.heard is not None and self.heard_bytes < MOST_HEARD:
            self.heard.append(payload)
            self.heard_bytes += len(payload)

    def note_usage(self, usage: Any) -> None:
        """As the engine said it; left alone where it said nothing that can be read."""
        if isinstance(usage, dict):
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            self.tokens_in, self.tokens_out = (count if isinstance(count, int) else None for count in counts)

    @property
    def _labels(self) -> str | None:
        said = self.caller.their_labels if self.caller else None
        return None if said is None else " ".join(sorted(said))

    @property
    def entry(self) -> Entry:
        milliseconds = round((time.monotonic() - self.started) * 1000)
        line = RequestLine(
            datetime.now(UTC), self.caller.who if self.caller else None, self.route, self.status or 500, self.code,
            self.release_id, self.tokens_in, self.tokens_out, milliseconds, self.prompt_hash, self.identifiers,
            labels=self._labels,
        )  # fmt: skip
        has_budget = self.caller is not None and self.caller.tokens_per_day is not None
        tokens = (self.tokens_in or 0) + (self.tokens_out or 0) if has_budget else 0
        return Entry(line, tokens, self.caller.caller_id if self.caller else None)


def record_of(request: Request) -> Record:
    """Where nobody keeps records, one that nobody reads."""
    found = getattr(request.state, "record", None)
    return found if isinstance(found, Record) else Record("")


def prompt_key(ledger_key: bytes) -> bytes:
    """What prompts are hashed with: derived, so that no second key has to be kept."""
    return hmac.new(ledger_key, b"hashes of prompts", hashlib.sha256).digest()
