"""Where an engine listens: a Unix socket that only this user can reach, or a port of loopback.

Owns the form of an address (`unix:/path/of/engine.sock`, or `http://127.0.0.1:PORT/v1`), clients for both, and counting who
holds a connection. Linux: reads /proc.
"""

import os
import secrets
from pathlib import Path

import httpx

from fine_tune_assets.core.errors import FineTuneError

_UNIX = "unix:"
_ON_SOCKET = "http://engine/v1"
"""The host's name is sent and means nothing: the socket is the address."""
_LONGEST_PATH = 107
"""Bytes of a Unix socket's path that Linux can hold."""
_WAITING, _CONNECTED = "02", "03"
"""States in /proc/net/unix: of a connection that the server has not accepted yet, and of one that it has."""


class AddressError(FineTuneError):
    """No engine can listen there."""


def new_socket(folder: Path) -> Path:
    """A path in `folder`, which is made for this user alone. Raises AddressError if the path is too long for a socket."""
    path = folder / f"{secrets.token_hex(4)}.sock"
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise AddressError(
            f"{path} is longer than {_LONGEST_PATH} bytes, which is all that a Unix socket's path may have. "
            "Choose a shorter FINE_TUNE_DATA_DIR."
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # an engine leaves its socket open to everybody: the folder is what keeps others out
    return path


def socket_address(path: Path) -> str:
    return f"{_UNIX}{path}"


def socket_of(address: str) -> Path | None:
    """None for a port."""
    return Path(address.removeprefix(_UNIX)) if address.startswith(_UNIX) else None


def base_url(address: str) -> str:
    return _ON_SOCKET if socket_of(address) else address


def open_client(address: str, api_key: str, timeout: httpx.Timeout | float) -> httpx.Client:
    """A client for paths such as `chat/completions`. Close it."""
    path = socket_of(address)
    transport = None if path is None else httpx.HTTPTransport(uds=str(path), verify=False)
    # trust_env off: a proxy variable of the shell would send loopback requests away.
    return httpx.Client(
        base_url=base_url(address),
        headers={"Authorization": f"Bearer {api_key}"},
        timeout=timeout,
        transport=transport,
        trust_env=False,
    )


def open_connections(address: str) -> int:
    """Connections that clients hold to the socket of an engine now, those it has not accepted yet among them.

    The server's ends of connections carry its path; so does the socket that listens, in another state.
    """
    path = address.removeprefix(_UNIX)
    rows = (line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()[1:])
    return sum(1 for row in rows if len(row) == 8 and row[7] == path and row[5] in (_WAITING, _CONNECTED))
