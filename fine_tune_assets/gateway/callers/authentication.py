"""Authenticates callers by API key or OpenID token, and checks their scopes.

A refusal gives the reason and never repeats the credential. A SQLite ledger is read on the event loop, which is faster than a
thread switch while the engine keeps every core busy; PostgreSQL is read in a thread.
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
from fine_tune_assets.core.oidc_provider import OidcError
from fine_tune_assets.core.people import has_mixed_scripts
from fine_tune_assets.core.permissions import Action, scope_of
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.callers.oidc_tokens import TokenError, TokenVerifier, create_verifier
from fine_tune_assets.gateway.wire_format import ApiError, invalid
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.api_keys import KEY_PREFIX, KeyCheck, check_key
from fine_tune_assets.ledger.people.users import find_user_by_identity

P = ParamSpec("P")
T = TypeVar("T")


async def read_ledger(
    query: Callable[Concatenate[Ledger, P], T], ledger: Ledger, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a query that only reads a few rows by an index: it may block the event loop."""
    reader = ledger.nonblocking_reader
    return await run_in_threadpool(query, ledger, *args, **kwargs) if reader is None else query(reader, *args, **kwargs)


_REFUSALS = {
    "unknown": (401, "invalid_api_key", "This API key is unknown."),
    "expired": (401, "expired_api_key", "This API key has expired. Ask the operator for a new one."),
    "revoked": (401, "revoked_api_key", "This API key was revoked. Ask the operator for a new one."),
}


ON_BEHALF_OF_HEADER = "x-on-behalf-of"
LABELS_HEADER = "x-on-behalf-of-labels"
_MAX_TOKEN_CHECKS = 8
"""Tokens verified at the same time. Bounded, so that a slow provider does not delay callers with API keys."""
_MAX_NAME_LENGTH = 200
_MAX_LABELS_LENGTH = 8192
"""Characters of the header."""
_MAX_PRINCIPAL_LENGTH = 300
"""Characters; the same as for desk users."""


@dataclass(frozen=True)
class Caller:
    caller_id: str
    """`key:ID` or `oidc:SUBJECT`: recorded in the audit log; limits are counted per id."""
    name: str
    """Author of corrections: the user to whom the key belongs, or the person that it acts for."""
    scopes: frozenset[str]
    requests_per_minute: int | None
    tokens_per_day: int | None
    open_requests: int | None = None
    """Simultaneous chat requests; None means the limit of the settings."""
    share: int = 1
    """Weight of its share of engine time."""
    on_behalf_of: str | None = None
    """The person that a key with the scope `on_behalf_of` acts for."""
    delegated_labels: frozenset[str] | None = None
    """The labels of that person, as sent by the key; None if it sent no labels header."""

    @property
    def principal(self) -> str:
        """The key and the person that it acts for, as written to the request log."""
        return self.caller_id if self.on_behalf_of is None else f"{self.caller_id} for {self.on_behalf_of}"

    @property
    def labels(self) -> frozenset[str]:
        """Access labels that decide which documents are shown: the delegated ones if sent, otherwise the caller's own."""
        if self.delegated_labels is not None:
            return self.delegated_labels
        return self.own_labels

    @property
    def own_labels(self) -> frozenset[str]:
        return frozenset(scope.removeprefix("label:") for scope in self.scopes if scope.startswith("label:"))


class Authenticator:
    """Shared by all requests of one gateway process."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Raises SettingsError if the provider's settings are incomplete."""
        self._settings, self._ledger = settings, ledger
        self._verifier: TokenVerifier | None = create_verifier(settings)
        self._verification_slots = asyncio.Semaphore(_MAX_TOKEN_CHECKS)

    async def authenticate(self, request: Request) -> Caller:
        """Identify the caller without checking scopes; `require_permission` does that. Raises ApiError."""
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        presented = presented.strip()
        if scheme.lower() != "bearer" or not presented:
            raise _refusal(401, "missing_api_key", "Send an API key: `Authorization: Bearer …`.")
        if self._verifier is not None and not presented.startswith(f"{KEY_PREFIX}_"):
            async with self._verification_slots:
                caller = await run_in_threadpool(self._authenticate_token, self._verifier, presented)
        else:
            caller = _caller_from_key(await read_ledger(check_key, self._ledger, presented, datetime.now(UTC)))
        acting = apply_on_behalf_of(caller, request.headers.get(ON_BEHALF_OF_HEADER))
        return apply_delegated_labels(acting, request.headers.get(LABELS_HEADER))

    def _authenticate_token(self, verifier: TokenVerifier, presented: str) -> Caller:
        try:
            token = verifier.verify(presented, datetime.now(UTC))
        except TokenError as error:
            code = "expired_token" if error.is_expired else "invalid_token"
            raise _refusal(401, code, str(error)) from None
        except OidcError:
            message = "The sign-in provider's keys are unavailable. Retry in a moment."
            raise ApiError(503, "not_available", message, {"Retry-After": "5"}) from None
        caller_id = f"oidc:{token.subject}"
        # Use the desk user's name if there is one, so that users cannot review their own corrections.
        user = find_user_by_identity(self._ledger, [f"{self._settings.gateway.oidc_issuer}|{token.subject}"])
        requests, tokens = self._settings.gateway.oidc_requests_per_minute, self._settings.gateway.oidc_tokens_per_day
        return Caller(caller_id, user.name if user else caller_id, token.scopes, requests or None, tokens or None)


def apply_on_behalf_of(caller: Caller, header: str | None) -> Caller:
    """Apply the percent-encoded name in the header. Raises ApiError.

    Needs the scope `on_behalf_of`: without it, any key could attribute corrections to other people.
    """
    if header is None:
        return caller
    require_permission(caller, Action.ACT_FOR_USERS)
    name = " ".join(unquote(header).split())
    if not name or len(name) > _MAX_NAME_LENGTH or not name.isprintable() or "\ufffd" in name:
        raise invalid(
            f"{ON_BEHALF_OF_HEADER} must be a name of at most {_MAX_NAME_LENGTH} characters, percent-encoded as UTF-8."
        )
    if has_mixed_scripts(name):
        raise invalid(f"{ON_BEHALF_OF_HEADER} mixes letters of several scripts in a word.")
    acting = replace(caller, name=name, on_behalf_of=name)
    if len(acting.principal) > _MAX_PRINCIPAL_LENGTH:
        raise invalid(f"{ON_BEHALF_OF_HEADER} and the caller id together exceed {_MAX_PRINCIPAL_LENGTH} characters.")
    return acting


def apply_delegated_labels(caller: Caller, header: str | None) -> Caller:
    """Apply the space-separated labels of the person that the caller acts for. Raises ApiError.

    A key can delegate only labels that it has itself, unless it has the scope `on_behalf_of_any_label`: otherwise any key that
    can name a person could read every document. Delegated labels replace the key's own, even if there are none.
    """
    if header is None:
        return caller
    require_permission(caller, Action.ACT_FOR_USERS)
    labels = frozenset(header.split())
    if caller.on_behalf_of is None or len(header) > _MAX_LABELS_LENGTH or not all(map(is_label, labels)):
        raise invalid(f"{LABELS_HEADER} must be space-separated labels, sent together with {ON_BEHALF_OF_HEADER}.")
    if not labels <= caller.own_labels:
        require_permission(caller, Action.PASS_ANY_LABEL)
    return replace(caller, delegated_labels=labels)


def require_permission(caller: Caller, action: Action) -> None:
    """Raises ApiError."""
    scope = scope_of(action)
    if scope not in caller.scopes:
        message = f"This key or token lacks the scope {scope}. Ask the operator for one that has it."
        raise ApiError(403, "wrong_scope", message)


def _caller_from_key(check: KeyCheck) -> Caller:
    """Raises ApiError."""
    holder = check.api_key
    if check.outcome != "ok" or holder is None:
        raise _refusal(*_REFUSALS[check.outcome])
    limits = (holder.requests_per_minute, holder.tokens_per_day, holder.open_requests, holder.share or 1)
    return Caller(f"key:{holder.key_id}", holder.owner or holder.name, frozenset(holder.scopes), *limits)


def _refusal(status: int, code: str, message: str) -> ApiError:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return ApiError(status, code, message, headers)
