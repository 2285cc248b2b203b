"""Where a service of ours may listen. Owns the rule: on loopback only, unless it has TLS (the gateway: see its `listening`)."""

from fine_tune_assets.core.errors import SettingsError

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost"})


def require_loopback(host: str, service: str) -> None:
    """Raise SettingsError unless `host` is loopback."""
    if host not in LOOPBACK_HOSTS:
        raise SettingsError(
            f"The {service} listens on loopback only, and {service}_host is {host}. "
            "Set it to 127.0.0.1 and put a proxy with TLS in front of it."
        )
