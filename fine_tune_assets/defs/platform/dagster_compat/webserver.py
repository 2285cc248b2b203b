"""Dagster's webserver with permissions for each request, from private names of Dagster (issue 2219).

- `WorkspaceProcessContext`, `WorkspaceRequestContext`, `WorkspaceFileTarget`: the webserver's command knows one permission level.
- `PermissionResult`, `VIEWER_PERMISSIONS`, `LOCATION_SCOPED_PERMISSIONS`: the names of permissions, and whether each is granted.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._core.workspace.permissions import (
    LOCATION_SCOPED_PERMISSIONS,
    VIEWER_PERMISSIONS,
    PermissionResult,
)

REFUSAL = "Your role does not allow this."


@dataclass(frozen=True)
class Grant:
    """The permissions of a request."""

    permissions: frozenset[str]
    """Their names."""
    location: str | None
    """The only code location in which they hold; None: in all of them."""


PermissionReader = Callable[[object], Grant]
"""The source of a request → its permissions."""


class PermittedRequest(WorkspaceRequestContext):
    """One request, with exactly the permissions in `grant`."""

    grant = Grant(frozenset(), None)

    @property
    def permissions(self) -> Mapping[str, PermissionResult]:
        """Those that hold in all locations."""
        return {
            name: _to_result(self.grant.location is None and name in self.grant.permissions)
            for name in VIEWER_PERMISSIONS
        }

    @property
    def show_instance_config(self) -> bool:
        """For users who may change something."""
        return bool(self.grant.permissions) and self.grant.location is None

    def permissions_for_location(self, *, location_name: str) -> Mapping[str, PermissionResult]:
        is_granted = self.grant.location in (None, location_name)
        return {name: _to_result(is_granted and name in self.grant.permissions) for name in LOCATION_SCOPED_PERMISSIONS}


class PermittedWorkspace(WorkspaceProcessContext):
    """The webserver's workspace. The base class knows only one permission level for all requests."""

    read_permissions: PermissionReader

    def create_request_context(self, source: object | None = None) -> WorkspaceRequestContext:
        request = PermittedRequest(
            instance=self.instance,
            current_workspace=self.get_current_workspace(),
            process_context=self,
            version=self.version,
            source=source,
            read_only=True,
        )
        request.grant = self.read_permissions(source)
        return request

    def location_names(self) -> list[str]:
        return list(self.get_current_workspace().code_location_entries)

    def find_unreachable(self) -> list[str]:
        """Names of locations that could not be loaded, or whose process does not answer."""
        entries = self.get_current_workspace().code_location_entries
        return [name for name, entry in entries.items() if not _is_answering(entry.code_location)]


@contextmanager
def open_workspace(workspace_file: Path, read_permissions: PermissionReader) -> Iterator[PermittedWorkspace]:
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            statement_timeout=15_000, pool_recycle=3600, max_overflow=20
        )  # the defaults of Dagster's command
        workspace = PermittedWorkspace(instance, WorkspaceFileTarget([str(workspace_file)]), version=dg.__version__)
        workspace.read_permissions = read_permissions
        with workspace:
            yield workspace


def create_webserver_app(workspace: PermittedWorkspace, path_prefix: str) -> Any:
    """The ASGI application."""
    from dagster_webserver.app import create_app_from_workspace_process_context

    return create_app_from_workspace_process_context(workspace, path_prefix)


def _is_answering(location: Any) -> bool:
    if location is None:
        return False
    try:
        location.client.ping("")
    except dg.DagsterError:
        return False
    return True


def _to_result(is_granted: bool) -> PermissionResult:
    return PermissionResult(is_granted, None if is_granted else REFUSAL)
