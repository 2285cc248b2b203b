"""The record of one request: caller, release, token counts and outcome, without text."""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from fine_tune_assets.gateway.callers.authentication import Caller
from fine_tune_assets.gateway.records.journal import Entry
from fine_tune_assets.ledger.audit.request_log import RequestEntry

MAX_ANSWER_BYTES = 1_000_000


@dataclass
class RequestRecord:
    route: str
    started: float = field(default_factory=time.monotonic)
    caller: Caller | None = None
    release_id: str | None = None
    prompt_hash: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    identifiers: int | None = None
    """Number of identifiers in the answer; None if it was not scanned."""
    passage_count: int | None = None
    """Passages given to the model; None without retrieval."""
    answer_payloads: list[bytes] | None = None
    """The answer as sent, for its drift features; None if drift is off."""
    answer_bytes: int = 0
    status: int | None = None
    code: str | None = None
    first_token_seconds: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Added to the response."""

    def hash_prompt(self, key: bytes, prompt: Any) -> None:
        if prompt is None:
            return
        text = json.dumps(prompt, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        self.prompt_hash = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def mark_first_token(self) -> None:
        if self.first_token_seconds is None:
            self.first_token_seconds = time.monotonic() - self.started

    def reset_answer(self) -> None:
        """Clear the fields of a discarded answer, before another release answers."""
        self.tokens_in = self.tokens_out = self.identifiers = self.passage_count = self.first_token_seconds = None
        self.answer_payloads, self.answer_bytes = None if self.answer_payloads is None else [], 0

    def add_payload(self, payload: bytes) -> None:
        """Keep the answer's payloads up to `MAX_ANSWER_BYTES`."""
        if self.answer_payloads is not None and self.answer_bytes < MAX_ANSWER_BYTES:
            self.answer_payloads.append(payload)
            self.answer_bytes += len(payload)

    def set_usage(self, usage: Any) -> None:
        """Store the engine's token counts. An unreadable `usage` is ignored."""
        if isinstance(usage, dict):
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            self.tokens_in, self.tokens_out = (count if isinstance(count, int) else None for count in counts)

    @property
    def _labels(self) -> str | None:
        labels = self.caller.delegated_labels if self.caller else None
        return None if labels is None else " ".join(sorted(labels))

    @property
    def entry(self) -> Entry:
        milliseconds = round((time.monotonic() - self.started) * 1000)
        line = RequestEntry(
            datetime.now(UTC), self.caller.principal if self.caller else None, self.route, self.status or 500, self.code,
            self.release_id, self.tokens_in, self.tokens_out, milliseconds, self.prompt_hash, self.identifiers,
            labels=self._labels,
        )  # fmt: skip
        has_budget = self.caller is not None and self.caller.tokens_per_day is not None
        tokens = (self.tokens_in or 0) + (self.tokens_out or 0) if has_budget else 0
        return Entry(line, tokens, self.caller.caller_id if self.caller else None)


def get_record(request: Request) -> RequestRecord:
    """The record that the middleware attached; an unused one without the middleware."""
    record = getattr(request.state, "record", None)
    return record if isinstance(record, RequestRecord) else RequestRecord("")


def derive_prompt_key(ledger_key: bytes) -> bytes:
    """The key for prompt hashes, derived from the ledger key so that no second key has to be stored."""
    return hmac.new(ledger_key, b"hashes of prompts", hashlib.sha256).digest()
