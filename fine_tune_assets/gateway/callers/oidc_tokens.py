"""Verifies bearer tokens of an OpenID provider and maps their scopes.

The provider's keys come from a file or a URL. They are refreshed after 30 minutes, used for at most 60 minutes while the
provider is unreachable, and refreshed at most once a minute when a token names an unknown key. Tokens are never logged.
"""

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.oidc_provider import (
    ALGORITHMS,
    LEEWAY_SECONDS,
    OidcError,
    create_tls_context,
    import_public_keys,
    is_subject,
    request_json,
    require_tls,
)
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.people.api_keys import check_scopes

REFRESH_AFTER_SECONDS = 1800.0
"""Age after which keys are refreshed; they stay in use meanwhile."""
MAX_AGE_SECONDS = 3600.0
"""Age after which keys are rejected."""
REFRESH_INTERVAL_SECONDS = 60.0
FAILURE_BACKOFF_SECONDS = 1.0
"""Time after a failed attempt in which no other is made."""
_UNAVAILABLE = "The sign-in provider's keys are unavailable."
_MAX_TOKEN_LENGTH = 16_384


class TokenError(Exception):
    """A token was rejected. The message is for the caller and quotes no part of the token."""

    def __init__(self, message: str, is_expired: bool = False) -> None:
        super().__init__(message)
        self.is_expired = is_expired


@dataclass(frozen=True)
class VerifiedToken:
    subject: str
    scopes: frozenset[str]
    """Scopes of this gateway."""


class KeySource:
    """The provider's public keys. Thread-safe: a refresh does not block threads that can use the cached keys."""

    def __init__(
        self, location: str, verify: ssl.SSLContext | bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._location, self._verify, self._clock, self._lock = location, verify, clock, threading.Lock()
        self._cached: tuple[KeySet, float] | None = None
        self._read_at = self._failed_at = float("-inf")

    def keys(self) -> KeySet:
        """Raises OidcError."""
        if (found := self._cached_within(REFRESH_AFTER_SECONDS)) is not None:
            return found
        if (found := self._cached_within(MAX_AGE_SECONDS)) is not None:
            return self._refresh_or_keep(found)
        with self._lock:
            return self._cached_within(MAX_AGE_SECONDS) or self._read()

    def refresh(self) -> bool:
        """Read the keys again, and return False if that was tried within the last minute.

        Raises OidcError if reading fails or the last attempt, less than a minute ago, failed.
        """
        with self._lock:
            if self._clock() - self._read_at < REFRESH_INTERVAL_SECONDS:
                if self._failed_at >= self._read_at:
                    raise OidcError(_UNAVAILABLE)
                return False
            self._read()
            return True

    def _cached_within(self, seconds: float) -> KeySet | None:
        cached = self._cached
        return cached[0] if cached is not None and self._clock() - cached[1] <= seconds else None

    def _refresh_or_keep(self, cached: KeySet) -> KeySet:
        """Refresh at most once a minute, in one thread; other threads use the cached keys."""
        if self._clock() - self._read_at < REFRESH_INTERVAL_SECONDS or not self._lock.acquire(blocking=False):
            return cached
        try:
            with suppress(OidcError):
                return self._read()
            return cached
        finally:
            self._lock.release()

    def _read(self) -> KeySet:
        # Back off, so that an unreachable or slow provider is not contacted for every request.
        if self._clock() - self._failed_at < FAILURE_BACKOFF_SECONDS:
            raise OidcError(_UNAVAILABLE)
        self._read_at = self._clock()
        try:
            found = import_public_keys(self._fetch())
        except OidcError:
            self._failed_at = self._clock()
            raise
        self._cached = (found, self._clock())
        return found

    def _fetch(self) -> Mapping[str, Any]:
        if "://" in self._location:
            return request_json("GET", self._location, verify=self._verify)
        import json

        try:
            found = json.loads(Path(self._location).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise OidcError("The file in gateway.oidc_jwks is unreadable or not JSON.") from None
        return found if isinstance(found, dict) else {}


class TokenVerifier:
    def __init__(
        self, issuer: str, audience: str, source: KeySource, scope_claim: str, scopes: Mapping[str, str] | None
    ) -> None:
        self._issuer, self._audience, self._source = issuer, audience, source
        self._scope_claim, self._scopes = scope_claim, scopes

    def verify(self, token: str, now: datetime) -> VerifiedToken:
        """Raises TokenError if the token is rejected, OidcError if the provider's keys are unavailable."""
        if len(token) > _MAX_TOKEN_LENGTH:
            raise TokenError("This token is too long.")
        claims = self._decode(token)
        registry = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            registry.validate(claims)
        except ExpiredTokenError:
            raise TokenError("This token has expired. Sign in again.", is_expired=True) from None
        except (JoseError, ValueError, TypeError):
            raise TokenError("This token is not valid for this gateway.") from None
        subject = claims["sub"]
        if not is_subject(subject):
            raise TokenError("This token is not valid for this gateway.")
        return VerifiedToken(subject, self._granted_scopes(claims.get(self._scope_claim)))

    def _decode(self, token: str) -> dict[str, Any]:
        try:
            try:
                return jwt.decode(token, self._source.keys(), algorithms=list(ALGORITHMS)).claims
            except (
                InvalidKeyIdError,
                BadSignatureError,
            ):  # for a token without a key id, only the signature shows that the key is unknown
                if not self._source.refresh():
                    raise
                return jwt.decode(token, self._source.keys(), algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise TokenError("This token is not valid for this gateway.") from None

    def _granted_scopes(self, claim: Any) -> frozenset[str]:
        """The gateway's scopes in a space-separated string or a list. Other scopes are ignored."""
        named = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
        names = [name for name in named if isinstance(name, str)]
        if self._scopes is not None:
            return frozenset(self._scopes[name] for name in names if name in self._scopes)
        return frozenset(name for name in names if _is_scope(name))


def _is_scope(name: str) -> bool:
    try:
        check_scopes([name])
    except LedgerError:
        return False
    return True


def create_verifier(settings: Settings) -> TokenVerifier | None:
    """None without an issuer. Raises SettingsError if a setting is missing, or the keys would be fetched without TLS."""
    issuer, audience, jwks = settings.gateway.oidc_issuer, settings.gateway.oidc_audience, settings.gateway.oidc_jwks
    if not issuer:
        return None
    if not audience or not jwks:
        raise SettingsError("gateway.oidc_issuer is set: set gateway.oidc_audience and gateway.oidc_jwks too.")
    try:
        if "://" in jwks:
            require_tls(jwks)
        verify = create_tls_context(settings.oidc.ca)
        scopes = _parse_scope_map(settings.gateway.oidc_scopes)
    except (OidcError, LedgerError) as error:
        raise SettingsError(f"gateway.oidc_jwks: {error}") from error
    return TokenVerifier(issuer, audience, KeySource(jwks, verify), settings.gateway.oidc_scope_claim, scopes)


def _parse_scope_map(text: str) -> dict[str, str] | None:
    """Parse space-separated `THEIRS=OURS` pairs; None if the setting is empty: both sides use the same names."""
    if not text.strip():
        return None
    pairs = [entry.rpartition("=")[::2] for entry in text.split()]
    if not all(theirs for theirs, _ in pairs):
        raise SettingsError("gateway.oidc_scopes must be space-separated THEIRS=OURS pairs.")
    check_scopes([ours for _, ours in pairs])
    return dict(pairs)
