"""Under which addresses the desk answers, and what its cookies are called there.

Owns the Host and Origin rules: a name that points here but is not ours (DNS rebinding) and a page of another site get
nothing. The scheme is what the setting says, never what a header says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.loopback import LOOPBACK_HOSTS, require_loopback
from fine_tune_assets.core.settings import Settings


@dataclass(frozen=True)
class Addresses:
    """`hosts` maps each Host that we answer to the origin of its pages."""

    hosts: Mapping[str, str]
    public: str
    is_https: bool
    suffix: str

    def cookie(self, name: str) -> str:
        """`__Host-`: the browser refuses it from a subdomain, without TLS, or for another path."""
        return f"__Host-desk-{name}" if self.is_https else f"desk-{name}-{self.suffix}"

    def is_ours(self, host: str) -> bool:
        return host.lower() in self.hosts

    def is_same_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of ours sent this. A browser says so in one header at least; who says nothing is refused."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None and origin is None:
            return False
        is_site = site in (None, "same-origin")
        return is_site and origin in (None, self.hosts.get(headers.get("host", "").lower()))


def read_addresses(settings: Settings) -> Addresses:
    """Raises SettingsError if the desk would listen, or be reached without TLS, beyond this machine."""
    require_loopback(settings.desk.host, "desk")
    local = {f"{host}:{settings.desk.port}": f"http://{host}:{settings.desk.port}" for host in sorted(LOOPBACK_HOSTS)}
    public = settings.desk_address
    parts = urlsplit(public)
    is_https = parts.scheme == "https"
    is_plain = parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS
    if not (is_https or is_plain) or not parts.hostname or parts.path or parts.query or parts.username:
        raise SettingsError(
            "desk.url must be https://NAME or https://NAME:PORT, the address of the proxy with TLS in front of the desk."
        )
    return Addresses({**local, parts.netloc.lower(): public.lower()}, public, is_https, str(settings.desk.port))
