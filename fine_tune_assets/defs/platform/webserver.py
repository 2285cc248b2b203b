"""Runs Dagster's webserver on a Unix socket, with the permissions that the desk passes for each request.

Dagster's own command listens on a port without sign-in, and knows only one permission level for everybody (dagster issue 2219).
A request without the header may only look. Also reloads the code server when code, libraries or settings have changed, or when
its process was killed.
"""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection

from fine_tune_assets.core.dagster_ui import LOCATION_HEADER, PATH_PREFIX, PERMISSIONS_HEADER, WEBSERVER_HOST
from fine_tune_assets.core.limited_http import build_server_options
from fine_tune_assets.core.settings import ConnectionSettings
from fine_tune_assets.defs.platform.code_state import fingerprint_code
from fine_tune_assets.defs.platform.dagster_compat.webserver import (
    Grant,
    PermittedWorkspace,
    create_webserver_app,
    open_workspace,
)

CODE_CHECK_SECONDS = 20.0


def run_webserver(socket: Path, workspace_file: Path, connections: ConnectionSettings) -> None:
    """Until SIGTERM or SIGINT."""
    socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket.parent.chmod(0o700)  # uvicorn makes its socket world-accessible: the folder protects it
    socket.unlink(missing_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    with open_workspace(workspace_file, read_permissions) as workspace:
        watcher = threading.Thread(target=_reload_changed_code, args=(workspace, stop), daemon=True)
        watcher.start()
        app = TrustedHostMiddleware(create_webserver_app(workspace, PATH_PREFIX), [WEBSERVER_HOST], www_redirect=False)
        try:
            uvicorn.run(app, uds=str(socket), log_level="warning", **build_server_options(connections))
        finally:
            stop.set()


def read_permissions(source: object) -> Grant:
    """Dagster permissions of a request; none without the header, as for requests of Dagster itself."""
    headers: Mapping[str, str] = source.headers if isinstance(source, HTTPConnection) else {}
    return Grant(frozenset(headers.get(PERMISSIONS_HEADER, "").split()), headers.get(LOCATION_HEADER))


def _reload_changed_code(workspace: PermittedWorkspace, stop: threading.Event) -> None:
    """The process behind Dagster's code server may also be killed, for instance for lack of memory. The code server does not
    replace it."""
    known = fingerprint_code()
    while not stop.wait(CODE_CHECK_SECONDS):
        before, known = known, fingerprint_code()
        for name in workspace.location_names() if known != before else workspace.find_unreachable():
            logging.getLogger(__name__).info("code or settings changed, or no answer: reloading %s", name)
            workspace.reload_code_location(name)
