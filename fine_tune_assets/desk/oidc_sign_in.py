"""OpenID Connect sign-in: authorization code flow with PKCE, state and nonce.

Reads the provider's metadata, builds the authorization URL and validates ID tokens. `sign_in_pages` maps the identity to a user
and sets the cookie. Tokens are never logged or shown.
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
from fine_tune_assets.core.oidc_provider import (
    ADDRESS_PREFIX,
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

CALLBACK_PATH = "/sign-in/oidc/callback"
_CACHE_SECONDS = 3600.0
"""How long the provider's metadata and keys are cached. An unknown key is fetched at once."""


@dataclass(frozen=True)
class SignInAttempt:
    """The secrets of a sign-in while the user is at the provider."""

    state: str
    nonce: str
    code_verifier: str

    def __repr__(self) -> str:
        """Omits the secrets, because a repr can end up in logs."""
        return "SignInAttempt()"


def make_attempt() -> SignInAttempt:
    return SignInAttempt(generate_token(43), generate_token(43), generate_token(64))


@dataclass(frozen=True)
class ProviderIdentity:
    """The identity that the provider confirmed."""

    identities: tuple[str, ...]
    """`ISSUER|SUBJECT`, and `ISSUER|mailto:ADDRESS` if the address is verified."""
    labels: frozenset[str]
    """Access labels of the user's groups."""


@dataclass(frozen=True)
class GroupMapping:
    """Maps the provider's groups to access labels."""

    claim: str = "groups"
    labels_by_group: tuple[tuple[str, str], ...] = ()
    """(group, label)."""

    def map_labels(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """Accepts a string or a list; any other claim counts as no group."""
        value = claims.get(self.claim)
        groups = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        return frozenset(label for group, label in self.labels_by_group if group in groups)


NO_GROUP_MAPPING = GroupMapping()


@dataclass
class _ProviderMetadata:
    metadata: dict[str, Any] = field(default_factory=dict)
    keys: KeySet | None = None
    fetched_at: float = float("-inf")


class Provider:
    """One OpenID provider. Thread-safe."""

    def __init__(
        self,
        name: str,
        issuer: str,
        client_id: str,
        client_secret: str,
        scopes: Sequence[str] = (),
        groups: GroupMapping = NO_GROUP_MAPPING,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self.name, self.issuer, self._client_id, self._client_secret = name, issuer, client_id, client_secret
        self._scopes, self._groups = " ".join(("openid", "email", *scopes)), groups
        self._cached, self._lock, self._verify = _ProviderMetadata(), threading.Lock(), verify

    def make_authorization_url(self, attempt: SignInAttempt, redirect_uri: str) -> str:
        """The address to redirect the user to. Raises OidcError."""
        return str(
            prepare_grant_uri(
                self._get_metadata()["authorization_endpoint"],
                client_id=self._client_id,
                response_type="code",
                redirect_uri=redirect_uri,
                scope=self._scopes,
                state=attempt.state,
                nonce=attempt.nonce,
                code_challenge=create_s256_code_challenge(attempt.code_verifier),
                code_challenge_method="S256",
            )
        )

    def fetch_identity(self, attempt: SignInAttempt, code: str, redirect_uri: str) -> ProviderIdentity:
        """Exchange the code for an ID token and validate it. Raises OidcError."""
        claims = self._verify_token(self._exchange_code(attempt, code, redirect_uri), attempt.nonce)
        found = [f"{self.issuer}|{claims['sub']}"]
        if claims.get("email_verified") is True and isinstance(claims.get("email"), str):
            found.append(f"{self.issuer}|{ADDRESS_PREFIX}{claims['email'].casefold()}")
        return ProviderIdentity(tuple(found), self._groups.map_labels(claims))

    def _exchange_code(self, attempt: SignInAttempt, code: str, return_to: str) -> str:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": return_to}
        form |= {"code_verifier": attempt.code_verifier, "client_id": self._client_id}
        secret = (self._client_id, self._client_secret) if self._client_secret else None
        answer = self._send_request("POST", self._get_metadata()["token_endpoint"], data=form, auth=secret)
        if not isinstance(answer.get("id_token"), str):
            raise OidcError("The sign-in provider sent no ID token.")
        return str(answer["id_token"])

    def _verify_token(self, id_token: str, nonce: str) -> CodeIDToken:
        try:
            token = self._decode_token(id_token)
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
            if not is_subject(claims["sub"]):
                raise ValueError("sub")
        except (JoseError, ValueError, KeyError, TypeError, RecursionError):
            # `from None`: the cause may quote the token.
            raise OidcError("The ID token of the sign-in provider is not valid.") from None
        return claims

    def _decode_token(self, id_token: str) -> jwt.Token:
        try:
            return jwt.decode(id_token, self._get_keys(), algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            # The provider may have rotated its keys since they were cached.
            self._cached.fetched_at = float("-inf")
            return jwt.decode(id_token, self._get_keys(), algorithms=list(ALGORITHMS))

    def _send_request(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        return request_json(method, url, verify=self._verify, **options)

    def _get_metadata(self) -> dict[str, Any]:
        self._refresh()
        return self._cached.metadata

    def _get_keys(self) -> KeySet:
        self._refresh()
        assert self._cached.keys is not None
        return self._cached.keys

    def _refresh(self) -> None:
        with self._lock:
            if time.monotonic() - self._cached.fetched_at < _CACHE_SECONDS:
                return
            metadata = self._send_request("GET", f"{self.issuer}/.well-known/openid-configuration")
            if metadata.get("issuer") != self.issuer:
                raise OidcError("The sign-in provider's issuer differs from the setting oidc.issuer.")
            missing = {"authorization_endpoint", "token_endpoint", "jwks_uri"} - set(metadata)
            if missing:
                raise OidcError(f"The sign-in provider's metadata has no {', '.join(sorted(missing))}.")
            keys = import_public_keys(self._send_request("GET", metadata["jwks_uri"]))
            self._cached = _ProviderMetadata(metadata, keys, time.monotonic())


def read_provider(settings: Settings) -> Provider | None:
    """None without an issuer. Raises SettingsError for incomplete settings or an issuer without TLS."""
    if not settings.oidc.issuer:
        return None
    if not settings.oidc.client_id:
        raise SettingsError(
            "oidc.issuer is set, but oidc.client_id is not. Register the desk with the provider and set its client id."
        )
    try:
        require_tls(settings.oidc.issuer)
        verify = create_tls_context(settings.oidc.ca)
    except OidcError as error:
        raise SettingsError(str(error)) from error
    secret = read_secret(settings.oidc.client_secret_file, "oidc.client_secret_file")
    groups = GroupMapping(settings.oidc.groups_claim, _parse_group_labels(settings.oidc.group_labels))
    issuer, scopes = settings.oidc.issuer.rstrip("/"), settings.oidc.scopes.split()
    return Provider(settings.oidc.button_label, issuer, settings.oidc.client_id, secret, scopes, groups, verify)


def _parse_group_labels(text: str) -> tuple[tuple[str, str], ...]:
    """Parse `GROUP=LABEL;…`. Group names of directories can contain spaces, commas and `=`; labels can't."""
    pairs = [tuple(part.strip() for part in entry.rpartition("=")[::2]) for entry in text.split(";") if entry.strip()]
    if not all(group for group, _ in pairs):
        raise SettingsError("oidc.group_labels must be GROUP=LABEL pairs, separated by semicolons.")
    try:
        check_labels([label for _, label in pairs])
    except LabelError as error:
        raise SettingsError(f"oidc.group_labels: {error}") from error
    return tuple((group, label) for group, label in pairs)
