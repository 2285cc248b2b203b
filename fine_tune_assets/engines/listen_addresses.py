"""Addresses of engines: a Unix socket that only this user can reach, or a loopback port.

An address is `unix:/path/of/engine.sock` or `http://127.0.0.1:PORT/v1`. Counting connections reads /proc (Linux).
"""

import os
import secrets
from pathlib import Path

import httpx

from fine_tune_assets.core.errors import FineTuneError

SOCKETS_FOLDER = "sockets"
"""Below the run folder: the gateway connects to no other place."""
_UNIX_PREFIX = "unix:"
_SOCKET_BASE_URL = "http://engine/v1"
"""The host name is ignored; the transport connects to the socket."""
MAX_PATH_BYTES = 107
"""Linux's limit for the path of a Unix socket."""
_WAITING, _CONNECTED = "02", "03"
"""States in /proc/net/unix: a connection that the server has not accepted yet, and an accepted one."""


class AddressError(FineTuneError):
    """An engine cannot listen on this address."""


def new_socket_path(folder: Path) -> Path:
    """A path in `folder`, which becomes private to this user. Raises AddressError if the path is too long for a socket."""
    path = folder / f"{secrets.token_hex(4)}.sock"
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise AddressError(
            f"{path} is longer than {MAX_PATH_BYTES} bytes, the limit for a Unix socket. "
            "Choose a shorter FINE_TUNE_DATA_DIR."
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # an engine creates its socket world-accessible: the folder protects it
    return path


def socket_address(path: Path) -> str:
    return f"{_UNIX_PREFIX}{path}"


def socket_path(address: str) -> Path | None:
    """None for a port."""
    return Path(address.removeprefix(_UNIX_PREFIX)) if address.startswith(_UNIX_PREFIX) else None


def base_url(address: str) -> str:
    return _SOCKET_BASE_URL if socket_path(address) else address


def open_client(address: str, api_key: str, timeout: httpx.Timeout | float) -> httpx.Client:
    """A client for paths such as `chat/completions`. Close it after use."""
    path = socket_path(address)
    transport = None if path is None else httpx.HTTPTransport(uds=str(path), verify=False)
    # trust_env off: a proxy from the environment would send loopback requests outside.
    return httpx.Client(
        base_url=base_url(address),
        headers={"Authorization": f"Bearer {api_key}"},
        timeout=timeout,
        transport=transport,
        trust_env=False,
    )


def count_connections(address: str) -> int:
    """Number of open client connections to an engine's socket, including those that the engine has not accepted yet.

    The server's end of each connection carries the socket's path; so does the listening socket, in another state.
    """
    path = address.removeprefix(_UNIX_PREFIX)
    rows = (line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()[1:])
    return sum(1 for row in rows if len(row) == 8 and row[7] == path and row[5] in (_WAITING, _CONNECTED))
