"""Signing in by OpenID Connect: authorization code with PKCE, state and nonce.

Owns the protocol: what the provider says about itself, the address to send people to, and what an ID token must prove.
Who that is in the ledger, and the cookie in between, is the pages' matter. Nothing of a token is logged or shown.
"""

import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from authlib.common.security import generate_token
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fine_tune_assets.core.access_labels import LabelError, check_labels
from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import read_secret
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

RETURN_PATH = "/sign-in/oidc/return"
_KEEP_SECONDS = 3600.0
"""How long what the provider says about itself, and its keys, are remembered. An unknown key is asked for at once."""


@dataclass(frozen=True)
class Attempt:
    """What is remembered of a sign-in while the person is at the provider."""

    state: str
    nonce: str
    verifier: str

    def __repr__(self) -> str:
        """Without its secrets: a repr ends up in logs."""
        return "Attempt()"


def new_attempt() -> Attempt:
    return Attempt(generate_token(43), generate_token(43), generate_token(64))


@dataclass(frozen=True)
class Person:
    """Whom the provider vouches for."""

    identities: tuple[str, ...]
    """`ISSUER|SUBJECT`, and by a verified address."""
    labels: frozenset[str]
    """Access labels by the person's groups."""


@dataclass(frozen=True)
class Groups:
    """How groups become access labels."""

    claim: str = "groups"
    labels: tuple[tuple[str, str], ...] = ()
    """(group, label)."""

    def labels_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """What is no list of texts names no group."""
        said = claims.get(self.claim)
        named = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        return frozenset(label for group, label in self.labels if group in named)


NO_GROUPS = Groups()


@dataclass
class _Remembered:
    metadata: dict[str, Any] = field(default_factory=dict)
    keys: KeySet | None = None
    at: float = float("-inf")


class Provider:
    """One OpenID provider, by its issuer. Safe to share between threads."""

    def __init__(
        self,
        name: str,
        issuer: str,
        client_id: str,
        client_secret: str,
        scopes: Sequence[str] = (),
        groups: Groups = NO_GROUPS,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self.name, self.issuer, self._client_id, self._client_secret = name, issuer, client_id, client_secret
        self._scopes, self._groups = " ".join(("openid", "email", *scopes)), groups
        self._known, self._lock, self._verify = _Remembered(), threading.Lock(), verify

    def address(self, attempt: Attempt, return_to: str) -> str:
        """Where the person is sent. Raises OidcError."""
        return str(
            prepare_grant_uri(
                self._metadata()["authorization_endpoint"],
                client_id=self._client_id,
                response_type="code",
                redirect_uri=return_to,
                scope=self._scopes,
                state=attempt.state,
                nonce=attempt.nonce,
                code_challenge=create_s256_code_challenge(attempt.verifier),
                code_challenge_method="S256",
            )
        )

    def person(self, attempt: Attempt, code: str, return_to: str) -> Person:
        """Raises OidcError."""
        claims = self._verified(self._exchange(attempt, code, return_to), attempt.nonce)
        found = [f"{self.issuer}|{claims['sub']}"]
        if claims.get("email_verified") is True and isinstance(claims.get("email"), str):
            found.append(f"{self.issuer}|mailto:{claims['email'].casefold()}")
        return Person(tuple(found), self._groups.labels_of(claims))

    def _exchange(self, attempt: Attempt, code: str, return_to: str) -> str:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": return_to}
        form |= {"code_verifier": attempt.verifier, "client_id": self._client_id}
        secret = (self._client_id, self._client_secret) if self._client_secret else None
        answer = self._ask("POST", self._metadata()["token_endpoint"], data=form, auth=secret)
        if not isinstance(answer.get("id_token"), str):
            raise OidcError("The sign-in provider sent no ID token.")
        return str(answer["id_token"])

    def _verified(self, id_token: str, nonce: str) -> CodeIDToken:
        try:
            token = self._decode(id_token)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._client_id},
                    "nonce": {"essential": True, "value": nonce},
                },
                {"nonce": nonce, "client_id": self._client_id},
            )
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, KeyError, TypeError):
            # Without its cause: it may quote the token.
            raise OidcError("What the sign-in provider sent does not prove who you are.") from None
        return claims

    def _decode(self, id_token: str) -> jwt.Token:
        try:
            return jwt.decode(id_token, self._keys(), algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            # The provider may have changed its keys since they were asked for.
            self._known.at = float("-inf")
            return jwt.decode(id_token, self._keys(), algorithms=list(ALGORITHMS))

    def _ask(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        return ask_provider(method, url, verify=self._verify, **options)

    def _metadata(self) -> dict[str, Any]:
        self._refresh()
        return self._known.metadata

    def _keys(self) -> KeySet:
        self._refresh()
        assert self._known.keys is not None
        return self._known.keys

    def _refresh(self) -> None:
        with self._lock:
            if time.monotonic() - self._known.at < _KEEP_SECONDS:
                return
            metadata = self._ask("GET", f"{self.issuer}/.well-known/openid-configuration")
            if metadata.get("issuer") != self.issuer:
                raise OidcError("The sign-in provider calls itself by another issuer than the setting oidc.issuer.")
            missing = {"authorization_endpoint", "token_endpoint", "jwks_uri"} - set(metadata)
            if missing:
                raise OidcError(f"The sign-in provider does not say its {', '.join(sorted(missing))}.")
            keys = public_keys(self._ask("GET", metadata["jwks_uri"]))
            self._known = _Remembered(metadata, keys, time.monotonic())


def read_provider(settings: Settings) -> Provider | None:
    """None without an issuer. Raises SettingsError if half of it is set, or it is reached without TLS."""
    if not settings.oidc.issuer:
        return None
    if not settings.oidc.client_id:
        raise SettingsError("oidc.issuer is set and oidc.client_id is not. Register the desk with the provider.")
    try:
        require_tls(settings.oidc.issuer)
        verify = trusted(settings.oidc.ca)
    except OidcError as error:
        raise SettingsError(str(error)) from error
    secret = read_secret(settings.oidc.client_secret_file, "oidc.client_secret_file")
    groups = Groups(settings.oidc.groups_claim, _group_labels(settings.oidc.group_labels))
    issuer, scopes = settings.oidc.issuer.rstrip("/"), settings.oidc.scopes.split()
    return Provider(settings.oidc.name, issuer, settings.oidc.client_id, secret, scopes, groups, verify)


def _group_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Groups hold spaces, commas and = where a directory names them; labels hold none."""
    pairs = [tuple(part.strip() for part in entry.rpartition("=")[::2]) for entry in text.split(";") if entry.strip()]
    if not all(group for group, _ in pairs):
        raise SettingsError("oidc.group_labels must be GROUP=LABEL, with ; between.")
    try:
        check_labels([label for _, label in pairs])
    except LabelError as error:
        raise SettingsError(f"oidc.group_labels: {error}") from error
    return tuple((group, label) for group, label in pairs)
