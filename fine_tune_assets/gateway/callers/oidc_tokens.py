"""Bearer tokens of an OpenID provider: whether a token is the provider's, for this gateway and valid now, and what it allows.

Owns the provider's keys (of a file or an address). They are asked for again after half an hour, and used for an hour at most
while the provider is away; and when a token names one that is not known, at most once a minute. Nothing of a token is logged or
shown.
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
from fine_tune_assets.core.oidc import (
    ALGORITHMS,
    LEEWAY_SECONDS,
    OidcError,
    ask_provider,
    public_keys,
    require_tls,
    trusted,
)
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.errors import LedgerError
from fine_tune_assets.ledger.people.api_keys import check_scopes

FRESH_SECONDS = 1800.0
"""Older keys are asked for again, and used meanwhile."""
KEEP_SECONDS = 3600.0
"""Older keys open nothing."""
ASK_AGAIN_SECONDS = 60.0
FAILED_SECONDS = 1.0
"""After a failed attempt, for which nobody else tries."""
_AWAY = "The sign-in provider's keys can't be read."
_LONGEST_SUBJECT = 195
"""Characters: the ledger keeps authors of at most 200, `oidc:` among them."""
_LONGEST_TOKEN = 16_384


class TokenError(Exception):
    """A token that opens nothing. Its message is for the caller and quotes nothing of it."""

    def __init__(self, message: str, is_expired: bool = False) -> None:
        super().__init__(message)
        self.is_expired = is_expired


@dataclass(frozen=True)
class VerifiedToken:
    subject: str
    scopes: frozenset[str]
    """Of this gateway."""


class KeySource:
    """The provider's public keys. Safe to share between threads: who asks for them does not hold up those who have some."""

    def __init__(
        self, place: str, verify: ssl.SSLContext | bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._place, self._verify, self._clock, self._lock = place, verify, clock, threading.Lock()
        self._known: tuple[KeySet, float] | None = None
        self._asked_at = self._failed_at = float("-inf")

    def keys(self) -> KeySet:
        """Raises OidcError."""
        if (found := self._younger_than(FRESH_SECONDS)) is not None:
            return found
        if (found := self._younger_than(KEEP_SECONDS)) is not None:
            return self._refreshed(found)
        with self._lock:
            return self._younger_than(KEEP_SECONDS) or self._read()

    def read_again(self) -> bool:
        """Whether they were read again: not if that was done within the last minute. Raises OidcError if it was and failed."""
        with self._lock:
            if self._clock() - self._asked_at < ASK_AGAIN_SECONDS:
                if self._failed_at >= self._asked_at:
                    raise OidcError(_AWAY)
                return False
            self._read()
            return True

    def _younger_than(self, seconds: float) -> KeySet | None:
        known = self._known
        return known[0] if known is not None and self._clock() - known[1] <= seconds else None

    def _refreshed(self, known: KeySet) -> KeySet:
        """One at a time asks, once a minute; everybody else goes on with the keys that are known."""
        if self._clock() - self._asked_at < ASK_AGAIN_SECONDS or not self._lock.acquire(blocking=False):
            return known
        try:
            with suppress(OidcError):
                return self._read()
            return known
        finally:
            self._lock.release()

    def _read(self) -> KeySet:
        # A provider that is away, or takes long to say nothing, is not asked for every request.
        if self._clock() - self._failed_at < FAILED_SECONDS:
            raise OidcError(_AWAY)
        self._asked_at = self._clock()
        try:
            found = public_keys(self._loaded())
        except OidcError:
            self._failed_at = self._clock()
            raise
        self._known = (found, self._clock())
        return found

    def _loaded(self) -> Mapping[str, Any]:
        if "://" in self._place:
            return ask_provider("GET", self._place, verify=self._verify)
        import json

        try:
            found = json.loads(Path(self._place).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise OidcError("The file of the sign-in provider's keys can't be read.") from None
        return found if isinstance(found, dict) else {}


class TokenVerifier:
    def __init__(
        self, issuer: str, audience: str, source: KeySource, scope_claim: str, scopes: Mapping[str, str] | None
    ) -> None:
        self._issuer, self._audience, self._source = issuer, audience, source
        self._scope_claim, self._scopes = scope_claim, scopes

    def verify(self, token: str, now: datetime) -> VerifiedToken:
        """Raises TokenError, and OidcError while the provider's keys can't be read."""
        if len(token) > _LONGEST_TOKEN:
            raise TokenError("This token is too long.")
        claims = self._decoded(token)
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
            raise TokenError("This token is not valid here.") from None
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
            raise TokenError("This token is not valid here.")
        return VerifiedToken(subject, self._allowed(claims.get(self._scope_claim)))

    def _decoded(self, token: str) -> dict[str, Any]:
        try:
            try:
                return jwt.decode(token, self._source.keys(), algorithms=list(ALGORITHMS)).claims
            except (
                InvalidKeyIdError,
                BadSignatureError,
            ):  # of a token without a key's name only the signature shows it
                if not self._source.read_again():
                    raise
                return jwt.decode(token, self._source.keys(), algorithms=list(ALGORITHMS)).claims
        except (JoseError, ValueError, TypeError, KeyError):
            raise TokenError("This token is not valid here.") from None

    def _allowed(self, claim: Any) -> frozenset[str]:
        """A text with spaces between, or a list, as providers write it. What is no scope of ours says nothing."""
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


def read_verifier(settings: Settings) -> TokenVerifier | None:
    """None without an issuer. Raises SettingsError if half of it is set, or its keys come over an open line."""
    issuer, audience, place = settings.gateway.oidc_issuer, settings.gateway.oidc_audience, settings.gateway.oidc_jwks
    if not issuer:
        return None
    if not audience or not place:
        raise SettingsError("gateway.oidc_issuer is set: gateway.oidc_audience and gateway.oidc_jwks must be too.")
    try:
        if "://" in place:
            require_tls(place)
        verify = trusted(settings.oidc.ca)
        scopes = _scope_map(settings.gateway.oidc_scopes)
    except (OidcError, LedgerError) as error:
        raise SettingsError(f"gateway.oidc_jwks: {error}") from error
    return TokenVerifier(issuer, audience, KeySource(place, verify), settings.gateway.oidc_scope_claim, scopes)


def _scope_map(text: str) -> dict[str, str] | None:
    """`THEIRS=OURS` with spaces between; None: they are called the same."""
    if not text.strip():
        return None
    pairs = [entry.rpartition("=")[::2] for entry in text.split()]
    if not all(theirs for theirs, _ in pairs):
        raise SettingsError("gateway.oidc_scopes must be THEIRS=OURS, with spaces between.")
    check_scopes([ours for _, ours in pairs])
    return dict(pairs)
