"""Asks the standing code server to load the definitions anew, as the webserver's button does.

`DagsterGrpcClient` is private; Dagster's public client needs a webserver, which an installation may not have.
"""

import threading
from pathlib import Path

RELOAD_SECONDS = 60
"""Maximum time for loading."""


def request_reload(socket: Path) -> bool:
    """Start the reload in the background: it ends the process that calls this. False without a code server at the socket."""
    if not socket.exists():
        return False
    threading.Thread(target=_reload, args=(socket,), daemon=True).start()
    return True


def _reload(socket: Path) -> None:
    from dagster._grpc.client import DagsterGrpcClient

    DagsterGrpcClient(socket=str(socket)).reload_code(timeout=RELOAD_SECONDS)
