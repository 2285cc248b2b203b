"""What all who rely on an OpenID provider share: which signatures count, and how it is reached.

Owns the list of algorithms and one request over TLS. What a token must say is the matter of whoever is shown one.
"""

from typing import Any
from urllib.parse import urlsplit

import httpx

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.loopback import LOOPBACK_HOSTS

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


def require_tls(url: str) -> None:
    """Raise OidcError unless it is https, or on this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        raise OidcError("The sign-in provider must be reached by https.")
