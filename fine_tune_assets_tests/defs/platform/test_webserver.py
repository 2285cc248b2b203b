"""The webserver behind the desk: permissions for each request, and reloading the code server when code has changed."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from dagster._core.workspace.permissions import LOCATION_SCOPED_PERMISSIONS, VIEWER_PERMISSIONS, PermissionResult
from starlette.requests import HTTPConnection

from fine_tune_assets.core.dagster_ui import (
    DAGSTER_PERMISSIONS,
    DEFINITIONS,
    LINE_PERMISSIONS,
    PERMISSIONS_HEADER,
    permission_headers,
)
from fine_tune_assets.core.permissions import ROLES
from fine_tune_assets.defs.platform import code_state, webserver
from fine_tune_assets.defs.platform.dagster_compat.webserver import Grant, PermittedRequest, PermittedWorkspace
from fine_tune_assets.defs.platform.webserver import read_permissions
from fine_tune_assets_tests.serving.load import wait

NAMES = {name for names in DAGSTER_PERMISSIONS.values() for name in names}


def request(**headers: str) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": [(k.encode(), v.encode()) for k, v in headers.items()]})


def enabled(found: Mapping[str, PermissionResult]) -> set[str]:
    return {str(name.value) for name, result in found.items() if result.enabled}  # type: ignore[attr-defined]


def permitted(grant: Grant) -> PermittedRequest:
    made = PermittedRequest.__new__(PermittedRequest)
    made.grant = grant
    return made


def test_the_permissions_are_known_to_the_installed_dagster() -> None:
    """A renamed permission would disable a button for everybody."""
    assert {str(name.value) for name in VIEWER_PERMISSIONS} >= NAMES  # type: ignore[attr-defined]


@pytest.mark.parametrize("role", ROLES)
def test_only_operators_get_permissions_and_never_all(role: str) -> None:
    """The UI shows a button only for what the desk passes on."""
    granted = read_permissions(request(**permission_headers([role], ""))).permissions
    assert granted == (NAMES if role == "operator" else frozenset())
    assert not granted & {"wipe_assets", "delete_pipeline_run", "report_runless_asset_events", "sensor_dry_run"}


@pytest.mark.parametrize("source", [None, request(), request(**{PERMISSIONS_HEADER: ""})])
def test_a_request_without_the_header_may_only_look(source: object) -> None:
    """Requests of Dagster itself have none."""
    assert read_permissions(source) == Grant(frozenset(), None)


def test_dagster_sees_exactly_the_granted_permissions() -> None:
    made = permitted(Grant(frozenset({"edit_sensor"}), None))
    assert enabled(made.permissions) == {"edit_sensor"}
    assert enabled(made.permissions_for_location(location_name="any")) == {"edit_sensor"}
    assert made.permissions.keys() == VIEWER_PERMISSIONS.keys()
    assert made.permissions_for_location(location_name="any").keys() == LOCATION_SCOPED_PERMISSIONS


def test_operators_of_a_further_line_have_permissions_in_its_code_location_only() -> None:
    """Dagster also refuses what the desk should have refused: runs, sensors and backfills of another line, and pools."""
    made = permitted(read_permissions(request(**permission_headers(["operator"], "law"))))
    assert enabled(made.permissions) == set()
    assert not made.show_instance_config
    assert enabled(made.permissions_for_location(location_name="law")) == LINE_PERMISSIONS
    for other in (DEFINITIONS, "finance", ""):
        assert enabled(made.permissions_for_location(location_name=other)) == set()


class Workspace(PermittedWorkspace):
    def __init__(self) -> None:
        self.reloaded: list[str] = []

    def location_names(self) -> list[str]:
        return ["ours"]

    def find_unreachable(self) -> list[str]:
        return []

    def reload_code_location(self, name: str) -> None:
        self.reloaded.append(name)


def test_changed_code_is_reloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise new runs would use the old code until somebody restarts the services."""
    monkeypatch.setattr(code_state, "_CODE", tmp_path)
    monkeypatch.setattr(webserver, "CODE_CHECK_SECONDS", 0.02)
    workspace, stop = Workspace(), threading.Event()
    watcher = threading.Thread(target=webserver._reload_changed_code, args=(workspace, stop))
    watcher.start()
    stop.wait(0.2)
    assert workspace.reloaded == []
    (tmp_path / "new.py").write_text("a")
    wait(lambda: bool(workspace.reloaded), 20)
    stop.wait(0.2)
    stop.set()
    watcher.join()
    assert workspace.reloaded == ["ours"]
