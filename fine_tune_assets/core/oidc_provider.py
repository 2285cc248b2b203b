"""Requests to an OpenID provider over TLS, and the keys and algorithms accepted for its tokens.

Shared by the gateway and the desk, which validate the claims themselves.
"""

import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, import_key

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.web_services import LOOPBACK_HOSTS

TIMEOUT_SECONDS = 10.0
LEEWAY_SECONDS = 60
"""Tolerated clock difference."""
# Asymmetric only: with HS256, anyone who knows the public key could sign tokens.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


ADDRESS_PREFIX = "mailto:"
"""Marks an identity as a verified address. A subject must not begin with it: some providers let people choose theirs."""
MAX_SUBJECT_LENGTH = 195
"""Characters: with the prefix `oidc:`, the ledger's limit of 200 for authors."""


class OidcError(FineTuneError):
    """The provider is unreachable, or its response is invalid."""


def request_json(method: str, url: str, **options: Any) -> dict[str, Any]:
    """The provider's response as a JSON object. Raises OidcError, whose message quotes no part of it."""
    require_tls(url)
    try:
        reply = httpx.request(method, url, timeout=TIMEOUT_SECONDS, trust_env=False, **options)
        answer = reply.json() if reply.status_code == 200 else None
    except (httpx.HTTPError, ValueError, RecursionError):
        raise OidcError("The sign-in provider is unreachable or sent an unreadable response.") from None
    if not isinstance(answer, dict):
        raise OidcError(f"The sign-in provider refused the request (HTTP {reply.status_code}).")
    return answer


def is_subject(claim: Any) -> bool:
    """Whether the claim `sub` can name a person."""
    if not isinstance(claim, str) or claim.casefold().startswith(ADDRESS_PREFIX):
        return False
    return 0 < len(claim) <= MAX_SUBJECT_LENGTH and claim.isprintable()


def create_tls_context(ca_file: str) -> ssl.SSLContext:
    """Trusts the CA in `ca_file`, or by default the CAs of httpx and this machine. Raises OidcError."""
    if not ca_file:
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
        return context
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise OidcError(f"The sign-in provider's CA file {ca_file} is unusable: {type(error).__name__}.") from None


def import_public_keys(jwks: Mapping[str, Any]) -> KeySet:
    """The keys of a JWKS that can verify a signature; others are skipped, as RFC 7517 requires. Raises OidcError if none."""
    entries = jwks.get("keys")
    keys = [key for entry in (entries if isinstance(entries, list) else []) if (key := _public_key(entry)) is not None]
    if not keys:
        raise OidcError("The sign-in provider's JWKS contains no usable public key.")
    return KeySet(keys)


def _public_key(entry: Any) -> Key | None:
    # Skip shared secrets (kty oct), private keys and keys for encryption.
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if entry.get("use", "sig") == "sig" and "d" not in entry:
        with suppress(JoseError, ValueError, KeyError, TypeError, AttributeError):
            return import_key(entry)
    return None


def require_tls(url: str) -> None:
    """Raise OidcError unless the URL is https or points to this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        raise OidcError("The sign-in provider's URL must start with https://.")
