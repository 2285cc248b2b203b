"""Bearer tokens of an OpenID provider: whether a token is the provider's, for this gateway and valid now, and what it allows.

Owns the provider's keys (of a file or an address), which are kept for an hour and asked for again when a token names one that is
not known, at most once a minute. Nothing of a token is logged or shown.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.oidc import ALGORITHMS, LEEWAY_SECONDS, OidcError, ask_provider, require_tls
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.api_keys import check_scopes
from fine_tune_assets.ledger.errors import LedgerError

KEEP_SECONDS = 3600.0
ASK_AGAIN_SECONDS = 60.0
FAILED_SECONDS = 1.0
"""After a failed attempt, for which nobody else tries."""
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
    """The provider's public keys. Safe to share between threads."""

    def __init__(self, place: str) -> None:
        self._place, self._lock = place, threading.Lock()
        self._keys: KeySet | None = None
        self._read_at = self._asked_at = self._failed_at = float("-inf")

    def keys(self) -> KeySet:
        """Raises OidcError."""
        with self._lock:
            if self._keys is None or time.monotonic() - self._read_at > KEEP_SECONDS:
                self._read()
            assert self._keys is not None
            return self._keys

    def read_again(self) -> bool:
        """Whether they were read again: not if that was done within the last minute. Raises OidcError."""
        with self._lock:
            if time.monotonic() - self._asked_at < ASK_AGAIN_SECONDS:
                return False
            self._read()
            return True

    def _read(self) -> None:
        # A provider that is away, or takes long to say nothing, is not asked for every request.
        if time.monotonic() - self._failed_at < FAILED_SECONDS:
            raise OidcError("The sign-in provider's keys can't be read.")
        self._asked_at = time.monotonic()
        try:
            self._keys = _key_set(self._loaded())
        except OidcError:
            self._failed_at = time.monotonic()
            raise
        self._read_at = time.monotonic()

    def _loaded(self) -> Mapping[str, Any]:
        if "://" in self._place:
            return ask_provider("GET", self._place)
        import json

        try:
            found = json.loads(Path(self._place).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise OidcError("The file of the sign-in provider's keys can't be read.") from None
        return found if isinstance(found, dict) else {}


def _key_set(found: Mapping[str, Any]) -> KeySet:
    try:
        # A secret that both sides know is no public key, and one for encryption signs nothing.
        public = [
            key
            for key in found["keys"]
            if key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig" and "d" not in key
        ]
        if not public:
            raise ValueError("no key")
        return KeySet.import_key_set({"keys": public})
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        raise OidcError(
            "The sign-in provider's keys can't be used: there must be public keys in the form JWKS."
        ) from None


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
            except InvalidKeyIdError:
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
    issuer, audience, place = settings.gateway_oidc_issuer, settings.gateway_oidc_audience, settings.gateway_oidc_jwks
    if not issuer:
        return None
    if not audience or not place:
        raise SettingsError("gateway_oidc_issuer is set: gateway_oidc_audience and gateway_oidc_jwks must be too.")
    try:
        if "://" in place:
            require_tls(place)
        scopes = _scope_map(settings.gateway_oidc_scopes)
    except (OidcError, LedgerError) as error:
        raise SettingsError(f"gateway_oidc: {error}") from error
    return TokenVerifier(issuer, audience, KeySource(place), settings.gateway_oidc_scope_claim, scopes)


def _scope_map(text: str) -> dict[str, str] | None:
    """`THEIRS=OURS` with spaces between; None: they are called the same."""
    if not text.strip():
        return None
    pairs = [entry.rpartition("=")[::2] for entry in text.split()]
    if not all(theirs for theirs, _ in pairs):
        raise SettingsError("gateway_oidc_scopes must be THEIRS=OURS, with spaces between.")
    check_scopes([ours for _, ours in pairs])
    return dict(pairs)
