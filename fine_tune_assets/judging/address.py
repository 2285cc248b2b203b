"""Where a judge that somebody else serves may be: inside the network, and nowhere else. Owns its key's file too."""

import ipaddress
import socket
from pathlib import Path
from urllib.parse import urlsplit

from fine_tune_assets.core.errors import SettingsError


def require_inside(url: str) -> None:
    """Raise SettingsError unless every address that the URL's host has lies inside a network: loopback, private, link-local.

    What is sent there is text of reports. Looked up once, before anything is sent: it keeps a mistake out, not somebody who
    rules the network's name service.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("The judge's address must begin with http:// or https:// and name a host.")
    try:
        found = {info[4][0] for info in socket.getaddrinfo(parts.hostname, None)}
    except OSError:
        raise SettingsError(f"The judge's host {parts.hostname} has no address here.") from None
    if any(_is_public(str(address)) for address in found):
        raise SettingsError(
            f"The judge's host {parts.hostname} has a public address: reports would leave the network. Name a server with a "
            "private address, or a proxy on this machine that leads to one of yours."
        )


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_global


def read_key_file(path: str) -> str:
    """The key in a file; empty without a file. Raises SettingsError if others can read it."""
    if not path:
        return ""
    try:
        if Path(path).stat().st_mode & 0o077:
            raise SettingsError(f"{path} can be read by other users. Run: chmod 600 {path}")
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"judge.key_file {path} can't be read: {type(error).__name__}.") from error
