"""Who asks, and what they may: an API key of the ledger, or a token of the OpenID provider.

Each route asks for a scope. A refusal says why, never what was presented. A SQLite ledger is read on the event loop, which costs
less than handing the turn to another thread where the engine keeps every core busy; PostgreSQL is asked in a thread.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from fine_tune_assets.core.access_labels import is_label
from fine_tune_assets.core.oidc import OidcError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.callers.oidc_tokens import TokenError, TokenVerifier, read_verifier
from fine_tune_assets.gateway.wire_format import ApiError, invalid
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import PREFIX, KeyCheck, check_key
from fine_tune_assets.ledger.people.users import find_by_identity

P = ParamSpec("P")
T = TypeVar("T")


async def read_ledger(
    query: Callable[Concatenate[Ledger, P], T], ledger: Ledger, *args: P.args, **kwargs: P.kwargs
) -> T:
    """`query`: reads only, one row or a few by an index."""
    here = ledger.without_waiting
    return await run_in_threadpool(query, ledger, *args, **kwargs) if here is None else query(here, *args, **kwargs)


_REFUSALS = {
    "unknown": (401, "invalid_api_key", "This API key is not known."),
    "expired": (401, "expired_api_key", "This API key has expired. Ask the operator for a new one."),
    "revoked": (401, "revoked_api_key", "This API key was revoked. Ask the operator for a new one."),
}


ON_BEHALF_OF = "x-on-behalf-of"
THEIR_LABELS = "x-on-behalf-of-labels"
_TOKENS_AT_ONCE = 8
"""Threads that verify tokens: a provider that takes long to say nothing holds up no key."""
_LONGEST_NAME = 200
_LONGEST_LABELS = 8192
"""Characters of the header."""
_LONGEST_WHO = 300
"""As of the desk's users."""


@dataclass(frozen=True)
class Caller:
    caller_id: str
    """`key:ID` or `oidc:SUBJECT`: in the audit chain, and what limits are counted for."""
    name: str
    """Who corrections come from: the key's own name, or the person that it acts for."""
    scopes: frozenset[str]
    requests_per_minute: int | None
    tokens_per_day: int | None
    on_behalf_of: str | None = None
    """The person that a key with the scope `act_for` says it asks for."""
    their_labels: frozenset[str] | None = None
    """The labels that it says this person has; None: it said none."""

    @property
    def who(self) -> str:
        """In the log of requests: the key, and the person that it acts for."""
        return self.caller_id if self.on_behalf_of is None else f"{self.caller_id} for {self.on_behalf_of}"

    @property
    def labels(self) -> frozenset[str]:
        """Access labels of documents that may be shown: of the person, where a key said them, else of the key or token."""
        if self.their_labels is not None:
            return self.their_labels
        return self.own_labels

    @property
    def own_labels(self) -> frozenset[str]:
        return frozenset(scope.removeprefix("label:") for scope in self.scopes if scope.startswith("label:"))


class Door:
    """Shared by all requests of a gateway process."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Raises SettingsError if half of the provider is set."""
        self._settings, self._ledger = settings, ledger
        self._verifier: TokenVerifier | None = read_verifier(settings)
        self._verifying = asyncio.Semaphore(_TOKENS_AT_ONCE)

    async def let_in(self, request: Request) -> Caller:
        """Whoever proves who they are; what they may is asked with `require_scope`. Raises ApiError."""
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        presented = presented.strip()
        if scheme.lower() != "bearer" or not presented:
            raise _refusal(401, "missing_api_key", "Send an API key: `Authorization: Bearer …`.")
        if self._verifier is not None and not presented.startswith(f"{PREFIX}_"):
            async with self._verifying:
                caller = await run_in_threadpool(self._by_token, self._verifier, presented)
        else:
            caller = _caller_of(await read_ledger(check_key, self._ledger, presented, datetime.now(UTC)))
        acting = acting_for(caller, request.headers.get(ON_BEHALF_OF))
        return with_labels(acting, request.headers.get(THEIR_LABELS))

    def _by_token(self, verifier: TokenVerifier, presented: str) -> Caller:
        try:
            token = verifier.verify(presented, datetime.now(UTC))
        except TokenError as error:
            code = "expired_token" if error.is_expired else "invalid_token"
            raise _refusal(401, code, str(error)) from None
        except OidcError:
            message = "The sign-in provider's keys can't be read. Ask again in a moment."
            raise ApiError(503, "not_available", message, {"Retry-After": "5"}) from None
        who = f"oidc:{token.subject}"
        # Who is a user of the desk too is one person in both: nobody reviews their own correction.
        user = find_by_identity(self._ledger, [f"{self._settings.gateway.oidc_issuer}|{token.subject}"])
        requests, tokens = self._settings.gateway.oidc_requests_per_minute, self._settings.gateway.oidc_tokens_per_day
        return Caller(who, user.name if user else who, token.scopes, requests or None, tokens or None)


def acting_for(caller: Caller, sent: str | None) -> Caller:
    """The caller, as the person whose name was sent, percent-encoded. Only the scope `act_for` lets a key say so: with any other
    one it would put words into somebody's mouth. Raises ApiError."""
    if sent is None:
        return caller
    require_scope(caller, "act_for")
    name = " ".join(unquote(sent).split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable() or "\ufffd" in name:
        raise invalid(f"{ON_BEHALF_OF} must be a name of at most {_LONGEST_NAME} characters, percent-encoded as UTF-8.")
    acting = replace(caller, name=name, on_behalf_of=name)
    if len(acting.who) > _LONGEST_WHO:
        raise invalid(f"{ON_BEHALF_OF} and the token's subject are too long together.")
    return acting


def with_labels(caller: Caller, sent: str | None) -> Caller:
    """The caller, with the labels of the person that it acts for, as words with spaces between. Raises ApiError.

    A key hands on labels that it holds itself, or any with the scope `act_for_any_label`: else whoever may name a person could
    read every document. What it hands on takes the place of its own, also where it is none.
    """
    if sent is None:
        return caller
    require_scope(caller, "act_for")
    labels = frozenset(sent.split())
    if caller.on_behalf_of is None or len(sent) > _LONGEST_LABELS or not all(map(is_label, labels)):
        raise invalid(f"{THEIR_LABELS} must be labels with spaces between, of the person in {ON_BEHALF_OF}.")
    if not labels <= caller.own_labels:
        require_scope(caller, "act_for_any_label")
    return replace(caller, their_labels=labels)


def require_scope(caller: Caller, scope: str) -> None:
    """Raises ApiError."""
    if scope not in caller.scopes:
        message = "This key or token may not do that. Ask the operator for one that may."
        raise ApiError(403, "wrong_scope", message)


def _caller_of(check: KeyCheck) -> Caller:
    """Raises ApiError."""
    holder = check.holder
    if check.outcome != "ok" or holder is None:
        raise _refusal(*_REFUSALS[check.outcome])
    limits = (holder.requests_per_minute, holder.tokens_per_day)
    return Caller(f"key:{holder.key_id}", holder.name, frozenset(holder.scopes), *limits)


def _refusal(status: int, code: str, message: str) -> ApiError:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return ApiError(status, code, message, headers)
