"""Who asks, and what they may: an API key of the ledger, or a token of the OpenID provider.

Owns the door: nobody gets in unknown, and each route asks for a scope. Says why not, never what was presented.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from fine_tune_assets.core.oidc import OidcError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.gateway.errors import ApiError
from fine_tune_assets.gateway.oidc_tokens import TokenError, TokenVerifier, read_verifier
from fine_tune_assets.ledger.api_keys import PREFIX, KeyHolder, check_key
from fine_tune_assets.ledger.database import Ledger

_REFUSALS = {
    "unknown": (401, "invalid_api_key", "This API key is not known."),
    "expired": (401, "expired_api_key", "This API key has expired. Ask the operator for a new one."),
    "revoked": (401, "revoked_api_key", "This API key was revoked. Ask the operator for a new one."),
}


@dataclass(frozen=True)
class Caller:
    caller_id: str
    """`key:ID` or `oidc:SUBJECT`: in the audit chain, and what limits are counted for."""
    name: str
    """Who corrections come from."""
    scopes: frozenset[str]
    requests_per_minute: int | None
    tokens_per_day: int | None

    @property
    def labels(self) -> frozenset[str]:
        """Access labels of documents that may be shown."""
        return frozenset(scope.removeprefix("label:") for scope in self.scopes if scope.startswith("label:"))


class Door:
    """Shared by all requests of a gateway process."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Raises SettingsError if half of the provider is set."""
        self._settings, self._ledger = settings, ledger
        self._verifier: TokenVerifier | None = read_verifier(settings)

    async def let_in(self, request: Request) -> Caller:
        """Whoever proves who they are; what they may is asked with `require_scope`. Raises ApiError."""
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        presented = presented.strip()
        if scheme.lower() != "bearer" or not presented:
            raise _refusal(401, "missing_api_key", "Send an API key: `Authorization: Bearer …`.")
        if self._verifier is not None and not presented.startswith(f"{PREFIX}_"):
            return await run_in_threadpool(self._by_token, self._verifier, presented)
        return await run_in_threadpool(self._by_key, presented)

    def _by_key(self, presented: str) -> Caller:
        check = check_key(self._ledger, presented, None, datetime.now(UTC))
        if check.outcome != "ok" or check.holder is None:
            raise _refusal(*_REFUSALS[check.outcome])
        return _caller_of(check.holder)

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
        requests, tokens = self._settings.gateway_oidc_requests_per_minute, self._settings.gateway_oidc_tokens_per_day
        return Caller(who, who, token.scopes, requests or None, tokens or None)


def require_scope(caller: Caller, scope: str) -> None:
    """Raises ApiError."""
    if scope not in caller.scopes:
        message = "This key or token may not do that. Ask the operator for one that may."
        raise ApiError(403, "wrong_scope", message)


def _caller_of(holder: KeyHolder) -> Caller:
    limits = (holder.requests_per_minute, holder.tokens_per_day)
    return Caller(f"key:{holder.key_id}", holder.name, frozenset(holder.scopes), *limits)


def _refusal(status: int, code: str, message: str) -> ApiError:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return ApiError(status, code, message, headers)
