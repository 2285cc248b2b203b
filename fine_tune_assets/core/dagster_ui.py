"""Where the Dagster UI is reached, and how the desk tells it what a user may do.

Dagster's webserver has no sign-in. It listens on a Unix socket in a private folder; the desk signs people in, decides about each
operation, and passes the user's permissions in a header, so that the UI shows only the buttons that work.
"""

import json
import os
import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.permissions import Action, may

CODE_SERVER, WEBSERVER, DAEMON = DAGSTER_SERVICES = ("code-server", "dagster-webserver", "dagster-daemon")
"""Names of the services."""
PATH_PREFIX = "/dagster"
"""Of the UI, below the desk's address."""
PERMISSIONS_HEADER = "x-fine-tune-permissions"
"""Space-separated names of Dagster permissions."""
LOCATION_HEADER = "x-fine-tune-location"
"""Name of the only code location in which the permissions hold; absent: in all of them."""
ASSET_JOB = "__ASSET_JOB"
"""Dagster's implicit job for any selection of assets."""
PARTITION_TAG = "dagster/partition"
AUDIT_PREFIX = "Dagster: "
"""Of the action of an audit entry, before the name of the GraphQL mutation."""
WEBSERVER_HOST = "dagster"
"""The only Host header that Dagster's webserver accepts; the transport connects to the socket."""
BASE_URL = f"http://{WEBSERVER_HOST}{PATH_PREFIX}"
DEFINITIONS = "fine_tune_assets.definitions"
"""Module and name of the code location, the same as with `workspace.yaml` in the checkout: Dagster stores it with sensors."""
MAX_SOCKET_BYTES = 107
"""Linux's limit for the path of a Unix socket."""
_AUDITED_CHARACTERS = 300
_FOLDER = "dagster"
"""Below the run folder."""


class DagsterFolderError(FineTuneError):
    """Dagster's servers cannot listen in this folder."""


DAGSTER_PERMISSIONS: Mapping[Action, tuple[str, ...]] = {
    Action.LAUNCH_RUNS: (
        "launch_pipeline_execution",
        "launch_pipeline_reexecution",
        "launch_partition_backfill",
    ),
    Action.TERMINATE_RUNS: ("terminate_pipeline_execution", "cancel_partition_backfill"),
    Action.TOGGLE_AUTOMATION: (
        "start_schedule",
        "stop_running_schedule",
        "edit_sensor",
        "toggle_auto_materialize",
    ),
    Action.EDIT_POOLS: ("edit_concurrency_limit",),
    Action.RELOAD_CODE: ("reload_repository_location", "reload_workspace"),
}
"""Dagster's own names. A test compares them with the installed version."""
LINE_PERMISSIONS = frozenset(
    {
        "launch_pipeline_execution",
        "launch_partition_backfill",
        "start_schedule",
        "edit_sensor",
        "reload_repository_location",
    }
)
"""What users of a further line can have: the desk refuses them operations that name a run, a backfill or nothing of a line."""


def webserver_socket(run_folder: Path) -> Path:
    return run_folder / _FOLDER / "ui.sock"


def code_server_socket(run_folder: Path) -> Path:
    return run_folder / _FOLDER / "code.sock"


def code_location(line: str) -> str:
    """Name of a product line's code location (empty: the main line)."""
    return line or DEFINITIONS


def asset_path(name: str, line: str) -> str:
    """Address of an asset's page, below the desk's address. `line`: empty for the main line."""
    return f"{PATH_PREFIX}/assets/{f'{line}/{name}' if line else name}"


def write_workspace(run_folders: Mapping[str, Path], documentation_address: str) -> Path:
    """Write the workspace file of webserver and daemon, which names the code servers, and return its path.

    `run_folders`: product line → its run folder; the main line's is the first.

    Raises DagsterFolderError if a path is too long for a Unix socket.
    """
    # The UI shows the address on the page of the code location.
    metadata = {"documentation": documentation_address}
    servers = [
        {"socket": str(_prepare_socket(folder)), "location_name": code_location(line), "additional_metadata": metadata}
        for line, folder in run_folders.items()
    ]
    file = next(iter(run_folders.values())) / _FOLDER / "workspace.yaml"
    write_text(file, json.dumps({"load_from": [{"grpc_server": server} for server in servers]}))  # JSON is YAML
    return file


def _prepare_socket(run_folder: Path) -> Path:
    """The code server's socket, in a private folder. Raises DagsterFolderError."""
    folder = run_folder / _FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)  # both servers make their sockets world-accessible: the folder protects them
    socket = code_server_socket(run_folder)
    if len(os.fsencode(socket)) > MAX_SOCKET_BYTES:
        raise DagsterFolderError(
            f"{socket} is longer than {MAX_SOCKET_BYTES} bytes, the limit for a Unix socket. "
            "Choose a shorter FINE_TUNE_DATA_DIR."
        )
    return socket


def split_subject(subject: str) -> list[str]:
    """What a mutation is about, in parts that each fit into an audit entry."""
    return textwrap.wrap(subject, _AUDITED_CHARACTERS) or ["-"]


def format_permissions(roles: Collection[str]) -> str:
    """The value of PERMISSIONS_HEADER for a user with these roles."""
    return " ".join(name for action, names in DAGSTER_PERMISSIONS.items() if may(roles, action) for name in names)


def permission_headers(roles: Collection[str], line: str) -> dict[str, str]:
    """The headers for a user of a product line (empty: the main line) with these roles."""
    granted = format_permissions(roles)
    if not line:
        return {PERMISSIONS_HEADER: granted}
    kept = [name for name in granted.split() if name in LINE_PERMISSIONS]
    return {PERMISSIONS_HEADER: " ".join(kept), LOCATION_HEADER: code_location(line)}
