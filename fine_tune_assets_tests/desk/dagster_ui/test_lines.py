"""The Dagster UI that all product lines share: where requests go, what they may change, and whose failures a desk shows."""

from collections.abc import Iterator
from typing import Any

import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from fine_tune_assets.core.dagster_ui import (
    AUDIT_PREFIX,
    DEFINITIONS,
    LINE_PERMISSIONS,
    LOCATION_HEADER,
    PERMISSIONS_HEADER,
)
from fine_tune_assets.desk import asset_failures
from fine_tune_assets.desk.asset_failures import AssetFailure, list_failures
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets_tests.desk.conftest import Visitor
from fine_tune_assets_tests.desk.dagster_ui.scripted_webserver import ScriptedWebserver, scripted_webserver
from fine_tune_assets_tests.desk.two_lines import LAW, TwoLines, serving_lines

LAUNCH = "mutation L($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename } }"


def node(location: str, *path: str) -> dict[str, Any]:
    """An asset with a failed check."""
    failed = {"status": "FAILED", "evaluation": {"severity": "ERROR"}}
    checks = {"checks": [{"name": "holds", "blocking": True, "executionForLatestMaterialization": failed}]}
    return {
        "assetKey": {"path": list(path)},
        "groupName": "s01_raw_reports",
        "repository": {"location": {"name": location}},
        "assetChecksOrError": checks,
    }


def failed_run(run_id: str, *path: str) -> dict[str, Any]:
    run = {"id": run_id, "status": "FAILURE"}
    return {"assetKey": {"path": list(path)}, "latestMaterialization": None, "latestRun": run}


ANSWERS = {
    "DeskChecks": {"assetNodes": [node(DEFINITIONS, "reports"), node(LAW, LAW, "reports")]},
    "DeskRuns": {"assetsLatestInfo": [failed_run("r1", LAW, "reports")]},
    "L(": {"launchPipelineExecution": {"__typename": "LaunchRunSuccess"}},
}


@pytest.fixture
def lines(settings: Any) -> Iterator[TwoLines]:
    with serving_lines(settings) as found:
        yield found


@pytest.fixture
def webserver(lines: TwoLines) -> Iterator[ScriptedWebserver]:
    with scripted_webserver(lines.main.settings.layout.run, ANSWERS) as found:
        yield found


@pytest.fixture
def operator(lines: TwoLines) -> Visitor:
    """Of the line `law`."""
    lines.law.add("Operator One", "operator")
    visitor = lines.law.visitor()
    visitor.get(f"/lines/{LAW}")
    assert visitor.sign_in("Operator One").status_code == 303
    return visitor


def send(visitor: Visitor, query: str, **variables: Any) -> Any:
    body = {"query": query, "variables": variables}
    return visitor.client.post("/dagster/graphql", json=body, headers={"origin": visitor.url})


def launch(visitor: Visitor, location: str, *path: str) -> Any:
    selector = {"repositoryName": "r", "repositoryLocationName": location, "assetSelection": [{"path": list(path)}]}
    return send(visitor, LAUNCH, p={"selector": selector})


def test_a_line_reaches_the_shared_webserver_with_permissions_in_its_code_location(
    lines: TwoLines, webserver: ScriptedWebserver, operator: Visitor
) -> None:
    """Dagster enforces them a second time. The main line's operators have theirs everywhere."""
    assert launch(operator, LAW, LAW, "adapters").status_code == 200
    assert webserver.headers[-1][LOCATION_HEADER] == LAW
    assert set(webserver.headers[-1][PERMISSIONS_HEADER].split()) == LINE_PERMISSIONS
    lines.main.add("Operator Two", "operator")
    assert launch(lines.main.signed_in("Operator Two"), DEFINITIONS, "adapters").status_code == 200
    assert LOCATION_HEADER not in webserver.headers[-1]


def test_what_concerns_another_line_never_reaches_the_webserver(
    lines: TwoLines, webserver: ScriptedWebserver, operator: Visitor
) -> None:
    """Neither in the one direction nor in the other; only the sent mutations are in the line's audit log."""
    lines.main.add("Operator Two", "operator")
    other = lines.main.signed_in("Operator Two")
    replies = [
        launch(operator, DEFINITIONS, "adapters"),
        launch(operator, LAW, "adapters"),
        send(operator, 'mutation { terminateRun(runId: "r") { __typename } }'),
        launch(other, LAW, LAW, "adapters"),
        launch(other, DEFINITIONS, LAW, "adapters"),
    ]
    assert [reply.status_code for reply in replies] == [403] * 5
    assert webserver.bodies == []
    launch(operator, LAW, LAW, "adapters")
    launched = [entry for entry in audit.list_entries(lines.law.ledger) if entry.action.startswith(AUDIT_PREFIX)]
    assert [entry.resource for entry in launched] == ["assets law/adapters"]


@pytest.mark.parametrize("path", ["logs/r/compute_logs/x/err", "download_debug/r"])
def test_output_of_processes_is_for_operators_of_the_main_line(
    webserver: ScriptedWebserver, operator: Visitor, path: str
) -> None:
    """A file of output has the id of its run in its name, not its line."""
    assert operator.get(f"/dagster/{path}").status_code == 403
    assert webserver.headers == []


def test_a_desk_shows_the_failures_of_its_own_line(
    lines: TwoLines, webserver: ScriptedWebserver, operator: Visitor
) -> None:
    """Asset keys of a further line start with its name."""
    shown = operator.get("/failures").text
    assert "/dagster/assets/law/reports?view=checks" in shown
    assert "/dagster/assets/reports" not in shown
    assert webserver.bodies[-1]["variables"]["keys"] == [{"path": [LAW, "reports"]}]
    found = list_failures(lines.main.settings.layout.run, "")
    path = "/dagster/assets/reports?view=checks&checkDetail=holds"
    assert AssetFailure("reports", "holds", path, closes_stage="s01_raw_reports") in found
    assert "law/reports" not in {failure.asset for failure in found if failure.check}


@pytest.mark.parametrize("query", [asset_failures._CHECKS, asset_failures._RUNS])
def test_the_queries_are_valid_for_the_installed_dagster(query: str) -> None:
    """The webserver of this test answers anything."""
    assert validate(create_schema().graphql_schema, parse(query)) == []
