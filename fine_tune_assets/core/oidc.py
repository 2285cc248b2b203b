"""What all who rely on an OpenID provider share: which signatures and keys count, and how it is reached.

Owns the list of algorithms, reading a set of keys, and one request over TLS. What a token must say is the matter of whoever is
shown one.
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
"""Clocks may differ by it."""
# Of the asymmetric ones: with HS256 whoever knows the public key could sign.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class OidcError(FineTuneError):
    """The provider can't be reached, or what came back proves nothing."""


def ask_provider(method: str, url: str, **options: Any) -> dict[str, Any]:
    """A JSON object that the provider sends. Raises OidcError, which quotes nothing of it."""
    require_tls(url)
    try:
        reply = httpx.request(method, url, timeout=TIMEOUT_SECONDS, trust_env=False, **options)
        answer = reply.json() if reply.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        raise OidcError("The sign-in provider can't be reached, or sent nothing that can be read.") from None
    if not isinstance(answer, dict):
        raise OidcError(f"The sign-in provider refused (HTTP {reply.status_code}).")
    return answer


def trusted(authority: str) -> ssl.SSLContext:
    """What the provider's certificate is verified with: the authority in that file, else those of httpx and of this machine.

    Raises OidcError.
    """
    if not authority:
        found = httpx.create_ssl_context(trust_env=False)
        found.load_default_certs()
        return found
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise OidcError(
            f"The file of the sign-in provider's authority can't be used: {type(error).__name__}."
        ) from None


def public_keys(found: Mapping[str, Any]) -> KeySet:
    """Those of a JWKS that can verify a signature; others are passed over, as RFC 7517 has it. Raises OidcError without one."""
    entries = found.get("keys")
    keys = [key for entry in (entries if isinstance(entries, list) else []) if (key := _public_key(entry)) is not None]
    if not keys:
        raise OidcError("The sign-in provider's keys can't be used: there must be public keys in the form JWKS.")
    return KeySet(keys)


def _public_key(entry: Any) -> Key | None:
    # A secret that both sides know is no public key, and one for encryption signs nothing.
    if not isinstance(entry, dict) or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if entry.get("use", "sig") == "sig" and "d" not in entry:
        with suppress(JoseError, ValueError, KeyError, TypeError, AttributeError):
            return import_key(entry)
    return None


def require_tls(url: str) -> None:
    """Raise OidcError unless it is https, or on this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        raise OidcError("The sign-in provider must be reached by https.")
