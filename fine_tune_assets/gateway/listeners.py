"""Checks the gateway's address, certificate and number of workers. Addresses other than loopback need TLS."""

import ssl
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.limited_http import build_server_options
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.web_services import LOOPBACK_HOSTS


def check_listener(settings: Settings) -> None:
    """Raises SettingsError."""
    certificate, key, authority = (
        settings.gateway.tls_cert, settings.gateway.tls_key, settings.gateway.tls_client_ca,
    )  # fmt: skip
    if bool(certificate) != bool(key):
        raise SettingsError("Set both gateway.tls_cert and gateway.tls_key, or neither.")
    if authority and not certificate:
        raise SettingsError("gateway.tls_client_ca is set: set gateway.tls_cert and gateway.tls_key too.")
    if settings.gateway.workers < 1:
        raise SettingsError("gateway.workers must be at least 1.")
    for path in filter(None, (certificate, key, authority)):
        if not Path(path).is_file():
            raise SettingsError(
                f"{path} is not a file. Correct gateway.tls_cert, gateway.tls_key or gateway.tls_client_ca."
            )
    if key and Path(key).stat().st_mode & 0o077:
        raise SettingsError(f"{key} can be read by other users. Run: chmod 600 {key}")
    is_guarded = certificate or settings.gateway.behind_tls_proxy
    if settings.gateway.host not in LOOPBACK_HOSTS and not is_guarded:
        raise SettingsError(
            f"gateway.host is {settings.gateway.host}, but without TLS the gateway listens on loopback only: keys would be sent "
            "in clear text. Set gateway.tls_cert and gateway.tls_key, or gateway.behind_tls_proxy if a proxy terminates TLS."
        )


def build_listener_options(settings: Settings) -> dict[str, Any]:
    """Arguments for uvicorn. Raises SettingsError."""
    check_listener(settings)
    options: dict[str, Any] = {"host": settings.gateway.host, "port": settings.gateway.port}
    options |= build_server_options(settings.connections)
    if settings.gateway.workers > 1:
        options["workers"] = settings.gateway.workers
    if settings.gateway.tls_cert:
        options |= {"ssl_certfile": settings.gateway.tls_cert, "ssl_keyfile": settings.gateway.tls_key}
    if settings.gateway.tls_client_ca:
        options |= {"ssl_ca_certs": settings.gateway.tls_client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options
