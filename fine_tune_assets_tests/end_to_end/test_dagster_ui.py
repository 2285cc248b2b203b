"""The Dagster UI behind the desk, with the real webserver, code server and browser: who may look, launch and terminate."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psutil
import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.dagster_ui import BASE_URL, webserver_socket
from fine_tune_assets.core.permissions import PERMISSIONS, ROLES
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.desk.asset_failures import AssetFailure, list_failures
from fine_tune_assets.desk.dagster_ui.graphql_policy import MUTATIONS
from fine_tune_assets.engines.processes import read_identity
from fine_tune_assets.ledger.people.sessions import SessionLimits, end_session, find_session
from fine_tune_assets_tests.conftest import create_installation, write_recipe
from fine_tune_assets_tests.desk.conftest import PASSWORD, Visitor
from fine_tune_assets_tests.desk.dagster_ui.sample_mutations import write_sample_mutations
from fine_tune_assets_tests.end_to_end.daemon_waits import until
from fine_tune_assets_tests.end_to_end.dagster_ui_user import (
    JOB,
    LAUNCH,
    ROLES_SHOWN,
    Ui,
    open_as,
    press_terminate,
    running_ui,
)
from fine_tune_assets_tests.serving.load import wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIMITS = SessionLimits(timedelta(hours=1), timedelta(hours=8))
POLICY_VIOLATION = 1008
CHECKS = ("served_export_matches_merged_weights", "every_export_matches_merged_weights")
"""Of `quantized_weights`."""


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory, dagster_home: Path) -> Iterator[Ui]:
    """The base model's folder does not exist, so that no training starts automatically."""
    with pytest.MonkeyPatch.context() as patch:
        data = create_installation(tmp_path_factory.mktemp("ui"), patch, dagster_home)
        write_recipe(data, base_model={"folder": str(data / "no-such-model")})
        with running_ui() as found:
            yield found


@pytest.mark.parametrize("role", ROLES_SHOWN)
def test_the_three_roles_see_the_graph(ui: Ui, role: str) -> None:
    """The page, its files, and the groups of the ten stages, each asset with a description."""
    visitor = ui.signed_in(role)
    page = visitor.get("/dagster/asset-groups")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    (script,) = re.findall(r'src="(/dagster/_next/static/chunks/main-[^"]+)"', page.text)
    assert visitor.get(script).status_code == 200
    nodes = ui.send(visitor, "{ assetNodes { groupName description } }").json()["data"]["assetNodes"]
    groups = sorted({node["groupName"][:3] for node in nodes})
    assert groups == [f"s{number:02}" for number in range(1, 11)]
    assert all(node["description"] for node in nodes)


def test_others_are_refused_and_a_session_is_required(ui: Ui) -> None:
    """Reviewers have no business in the graph."""
    reviewer, visitor = ui.signed_in("reviewer"), Visitor(ui.url)
    assert reviewer.get("/dagster").status_code == 403
    assert ui.send(reviewer, "{ version }").status_code == 403
    answer = visitor.get("/dagster/runs?view=all")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=/dagster/runs%3Fview%3Dall")
    assert ui.send(visitor, "{ version }").status_code == 401


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_a_request_of_another_site_is_refused(ui: Ui, headers: dict[str, str]) -> None:
    """An open page of another site could otherwise launch runs with the operator's cookie."""
    assert ui.send(ui.signed_in("operator"), "{ version }", headers).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/dagster/report_asset_materialization/served_models"),
        ("POST", "/dagster/report_asset_check/served_models"),
        ("POST", "/dagster/report_asset_observation/served_models"),
        ("GET", "/dagster/graphql?query=mutation%7BreloadWorkspace%7B__typename%7D%7D"),
        ("POST", "/dagster/graphql?query=mutation%7BreloadWorkspace%7B__typename%7D%7D"),
        ("GET", "/dagster/notebook?path=a.ipynb&repoLocName=x"),
        ("GET", "/dagster/logs/..%2f..%2fdagster.yaml"),
        ("GET", "/dagster/download_debug/..%2fx"),
    ],
)
def test_no_other_way_leads_to_the_webserver(ui: Ui, method: str, path: str) -> None:
    """Dagster's webserver accepts mutations by GET and reports of events without a login."""
    visitor = ui.signed_in("operator")
    reply = visitor.client.request(method, path, headers={"origin": ui.url, "accept": "text/html"})
    # Unknown paths show the UI's page, which is the same for all of them.
    assert reply.status_code >= 400 or reply.text.startswith("<!DOCTYPE html>")
    with dg.DagsterInstance.get() as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("served_models")) is None


def test_without_the_desk_the_socket_is_closed_to_others_and_shows_only(ui: Ui) -> None:
    """Only this user can reach it; a request without permissions may look and nothing else."""
    socket = webserver_socket(ui.settings.layout.run)
    assert socket.parent.stat().st_mode & 0o077 == 0
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), trust_env=False, timeout=60) as client:
        sent = {"query": "mutation { reloadWorkspace { __typename } }"}
        reply = client.post(f"{BASE_URL}/graphql", json=sent).json()
    assert reply["data"]["reloadWorkspace"]["__typename"] == "UnauthorizedError"


def test_dagster_itself_enforces_the_same_permissions(ui: Ui) -> None:
    """A second defence: the webserver knows the user's permissions, so the UI hides what would be refused."""
    query = "{ unscopedPermissions: permissions { permission value } }"
    for role in ROLES_SHOWN:
        found = ui.send(ui.signed_in(role), query).json()["data"]["unscopedPermissions"]
        granted = {one["permission"] for one in found if one["value"]}
        assert ("launch_pipeline_execution" in granted) == (role == "operator")
        assert not {"wipe_assets", "report_runless_asset_events", "delete_pipeline_run"} & granted


def test_a_launch_is_recorded_and_others_are_refused_and_not_recorded(ui: Ui) -> None:
    """The audit log names the person, the operation and the assets."""
    launched = ui.launch(ui.signed_in("operator"), "base_models")
    assert launched["__typename"] == "LaunchRunSuccess", launched
    assert ui.audited()[-1] == ("operator one", "Dagster: launchPipelineExecution", "assets base_models")
    count = len(ui.audited())
    for role in ("approver", "auditor"):
        reply = ui.send(ui.signed_in(role), "mutation { reloadWorkspace { __typename } }")
        assert reply.status_code == 403
        assert "only the role operator" in reply.json()["errors"][0]["message"]
    assert len(ui.audited()) == count


@pytest.mark.parametrize("role", ROLES)
def test_each_role_sends_exactly_its_mutations_to_the_running_webserver(ui: Ui, role: str) -> None:
    """Each of Dagster's mutations, for something that does not exist. A permitted one reaches Dagster, which permits it too."""
    visitor = ui.signed_in(role)
    for name, document in write_sample_mutations().items():
        before = len(ui.audited())
        reply = ui.send(visitor, document)
        audited = [(actor, action) for actor, action, _ in ui.audited()[before:]]
        if role in PERMISSIONS[MUTATIONS[name]].roles:
            # Dagster answers 500 when optional arguments are missing that it needs.
            assert reply.status_code in (200, 500), (name, reply.text)
            assert "nauthorized" not in reply.text, (name, reply.text)
            assert audited == [(f"{role} one", f"Dagster: {name}")]
        else:
            assert reply.status_code == 403, (name, reply.text)
            assert audited == []


def test_the_command_submits_a_run_while_services_run_and_is_recorded(ui: Ui) -> None:
    """`fine-tune materialize`, which error messages name, works in both cases and trains nothing twice."""
    with dg.DagsterInstance.get() as instance:
        before = {run.run_id for run in instance.get_runs()}
        done = CliRunner().invoke(main, ["materialize", "scrub_recall"])
        assert done.exit_code == 0, done.output
        # While the command waits, the daemon's automation may start runs of its own.
        started = [run for run in instance.get_runs() if run.run_id not in before]
        (run,) = [run for run in started if "dagster/from_automation_condition" not in run.tags]
        assert run.asset_selection == {dg.AssetKey("scrub_recall")}
    actor, action, subject = ui.audited()[-1]
    assert (actor[:3], action, subject) == ("os:", "Dagster: launchMultipleRuns", "assets scrub_recall")
    nothing = CliRunner().invoke(main, ["materialize"])
    assert nothing.exit_code != 0


def test_the_command_refuses_another_recipe_than_the_services_use(ui: Ui, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run would use the services' recipe, although the user named another one."""
    count = len(ui.audited())
    monkeypatch.setenv("FINE_TUNE_RECIPE", "law_contracts")
    refused = CliRunner().invoke(main, ["materialize", "scrub_recall"])
    assert refused.exit_code == 1
    assert {"law_contracts", "code-server", "dagster-daemon"} <= set(refused.stderr.replace(",", " ").split())
    assert len(ui.audited()) == count


@pytest.mark.parametrize("asset", ["merged_weights", "releases", "served_models"])
def test_launching_a_gated_asset_by_hand_promotes_nothing(ui: Ui, asset: str) -> None:
    """Not even when everything upstream has a forged materialization: the step reads the ledger's verdict."""
    with dg.DagsterInstance.get() as instance:
        for upstream in (
            "adapters",
            "judge_scores",
            "promotion_verdicts",
            "merged_weights",
            "quantized_weights",
            "releases",
        ):
            forged = dg.AssetMaterialization(upstream, tags={"dagster/data_version": "forged"})
            instance.report_runless_asset_event(forged)
        launched = ui.launch(ui.signed_in("operator"), asset)
        run_id = launched["run"]["runId"]
        until(lambda: _is_finished(instance, run_id), ui.settings, 120, f"the run of {asset}")
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.FAILURE


def test_the_first_page_lists_what_failed(ui: Ui) -> None:
    """And `fine-tune status`. The base model's folder does not exist, so its asset fails; and a check of another asset fails."""
    operator = ui.signed_in("operator")
    run_id = ui.launch(operator, "base_models")["run"]["runId"]
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("quantized_weights"))
        for name, severity in zip(CHECKS, dg.AssetCheckSeverity, strict=True):
            evaluation = dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("quantized_weights"),
                check_name=name,
                passed=False,
                metadata={"reason": "Two files differ."},
                severity=severity,
            )
            instance.report_runless_asset_event(evaluation)
        until(lambda: _is_finished(instance, run_id), ui.settings, 120, "the end of the run")
    failures = list_failures(ui.settings.layout.run, "")
    assert AssetFailure("base_models", "", f"/dagster/runs/{run_id}") in failures
    errors = [name for name, severity in zip(CHECKS, dg.AssetCheckSeverity, strict=True) if severity.value == "ERROR"]
    assert [failure.check for failure in failures if failure.asset == "quantized_weights" and failure.check] == errors
    page, status = operator.get("/failures").text, CliRunner().invoke(main, ["status"]).output
    assert f"/dagster/runs/{run_id}" in page
    assert "Two files differ." in page
    stops = [line.split(maxsplit=2)[2] for line in status.splitlines() if line.startswith("Stopped at")]
    failed = f"base_models, its run failed: {load_settings().desk_address}/dagster/runs/{run_id}"
    assert failed in stops
    assert f"quantized_weights, {errors[0]}: Two files differ." in stops


def _is_finished(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.is_finished


def test_subscriptions_are_relayed_and_mutations_and_other_origins_are_refused(ui: Ui) -> None:
    """The UI follows a run over WebSocket."""
    visitor = ui.signed_in("auditor")
    url = ui.url.replace("http", "ws", 1) + "/dagster/graphql"
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.client.cookies.items())

    def opened(origin: str, cookies: str = cookie) -> Any:
        headers = {"cookie": cookies}
        return connect(url, origin=origin, additional_headers=headers, subprotocols=["graphql-ws"], proxy=None)  # type: ignore[arg-type,list-item]

    for refused in (("http://evil.example", cookie), (ui.url, "")):
        with pytest.raises(InvalidStatus):
            opened(*refused)
    with opened(ui.url) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {}}))
        assert json.loads(socket.recv(10))["type"] == "connection_ack"
        mutation = {"query": "mutation { reloadWorkspace { __typename } }"}
        socket.send(json.dumps({"type": "start", "id": "1", "payload": mutation}))
        assert json.loads(socket.recv(10))["type"] == "error"
        with dg.DagsterInstance.get() as instance:
            (run,) = instance.get_runs(limit=1)
        query = "subscription S($r: ID!) { pipelineRunLogs(runId: $r, cursor: null) { __typename } }"
        start = {"query": query, "variables": {"r": run.run_id}, "operationName": "S"}
        socket.send(json.dumps({"type": "start", "id": "2", "payload": start}))
        message = json.loads(socket.recv(20))
        assert (message["type"], message["id"]) == ("data", "2"), message
        end_session_of(ui, visitor.client.cookies)
        with suppress(ConnectionClosed):
            while True:  # what was sent before
                socket.recv(60)
        assert socket.protocol.close_code == POLICY_VIOLATION


def end_session_of(ui: Ui, cookies: Mapping[str, str]) -> None:
    token = next(value for name, value in cookies.items() if "session" in name)
    session = find_session(ui.ledger, token, LIMITS, now=datetime.now(UTC))
    assert session is not None
    end_session(ui.ledger, session)


def test_a_killed_code_server_process_is_replaced(ui: Ui) -> None:
    """It may be killed for lack of memory; otherwise sensors and launches would fail until an operator restarts the services."""
    identity = read_identity(ui.settings.layout.run / "code-server.pid")
    assert identity is not None
    found = [child for child in psutil.Process(identity.pid).children() if {"api", "grpc"} <= set(child.cmdline())]
    assert found
    operator = ui.signed_in("operator")
    for process in found:  # after a reload, the process with the older code may still run
        process.kill()
        process.wait(10)

    def launches() -> bool:
        selector = JOB | {"assetSelection": [{"path": ["scrub_recall"]}]}
        reply = ui.send(operator, LAUNCH, p={"selector": selector, "mode": "default"})
        return "LaunchRunSuccess" in reply.text

    wait(launches, 120)


def test_an_operator_materializes_an_asset_and_sees_its_checks(ui: Ui, page: Page) -> None:
    """In the browser: lineage, asset, Materialize, run, checks. Within 10 seconds of the click for a small asset."""
    open_as(page, ui, "operator", "/dagster/asset-groups")
    expect(page.get_by_role("button", name=re.compile("Materialize all"))).to_be_enabled(timeout=30_000)
    page.goto(f"{ui.url}/dagster/assets/scrub_recall")
    page.get_by_role("button", name="Materialize").first.click()
    with dg.DagsterInstance.get() as instance:
        until(
            lambda: _is_launched(instance, "scrub_recall"), ui.settings, 30, "the run that was launched in the browser"
        )
        run = instance.get_runs(limit=1)[0]
        until(lambda: _is_finished(instance, run.run_id), ui.settings, 120, "its end")
    page.goto(f"{ui.url}/dagster/runs/{run.run_id}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=30_000)
    page.goto(f"{ui.url}/dagster/assets/scrub_recall?view=checks")
    expect(page.get_by_text("scrub_recall_meets_floor").first).to_be_visible(timeout=30_000)
    assert ui.audited()[-1][:2] == ("operator one", "Dagster: launchPipelineExecution")


def _is_launched(instance: dg.DagsterInstance, asset: str) -> bool:
    runs = instance.get_runs(limit=1)
    return bool(runs) and dg.AssetKey(asset) in (runs[0].asset_selection or ())


def test_an_operator_terminates_a_run(ui: Ui, page: Page) -> None:
    """The worker's process ends too."""
    launched = ui.launch(ui.signed_in("operator"), "scrub_recall")
    run_id = launched["run"]["runId"]
    with dg.DagsterInstance.get() as instance:
        until(lambda: _is_started(instance, run_id), ui.settings, 60, "the start of the run")
        open_as(page, ui, "operator", f"/dagster/runs/{run_id}")
        press_terminate(page)
        until(lambda: _is_finished(instance, run_id), ui.settings, 60, "the end of the run")
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.CANCELED
    assert ui.audited()[-1][1] in ("Dagster: terminateRuns", "Dagster: terminateRun")


def test_nobody_else_terminates_a_run(ui: Ui) -> None:
    """By any spelling that Dagster understands."""
    run_id = ui.launch(ui.signed_in("operator"), "scrub_recall")["run"]["runId"]
    attempts = (
        f'mutation {{ terminateRun(runId: "{run_id}") {{ __typename }} }}',
        f'mutation {{ a: terminateRuns(runIds: ["{run_id}"], terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) {{ __typename }} }}',
        f'mutation {{ terminatePipelineExecution(runId: "{run_id}") {{ __typename }} }}',
        f'query Q {{ version }} mutation M {{ terminateRun(runId: "{run_id}") {{ __typename }} }}',
        f'mutation {{ ...f }} fragment f on Mutation {{ terminateRun(runId: "{run_id}") {{ __typename }} }}',
        f'mutation {{ deletePipelineRun(runId: "{run_id}") {{ __typename }} }}',
    )
    with dg.DagsterInstance.get() as instance:
        until(lambda: _is_started(instance, run_id), ui.settings, 60, "the start of the run")
        for role in ("approver", "auditor", "reviewer"):
            visitor = ui.signed_in(role)
            for query in attempts:
                for reply in (
                    ui.send(visitor, query),
                    visitor.client.get("/dagster/graphql", params={"query": query}),
                    visitor.client.post("/dagster/graphql", json=[{"query": query}], headers={"origin": ui.url}),
                ):
                    assert reply.status_code in {400, 403, 405}, reply.text
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status in {dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS}


def _is_started(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status is dg.DagsterRunStatus.STARTED


def test_a_viewer_cannot_press_materialize(ui: Ui, page: Page) -> None:
    """Dagster disables the button; a forged request is refused in the tests above."""
    open_as(page, ui, "auditor", "/dagster/assets/scrub_recall")
    expect(page.get_by_role("button", name="Materialize").first).to_be_disabled(timeout=30_000)


def test_an_open_page_goes_to_the_sign_in_when_its_session_ends_and_back(ui: Ui, page: Page) -> None:
    """The UI itself would show an unspecific error."""
    open_as(page, ui, "auditor", "/dagster/runs?view=all")
    end_session_of(ui, {str(cookie["name"]): str(cookie["value"]) for cookie in page.context.cookies()})
    page.wait_for_url(re.compile("/sign-in"), timeout=30_000)
    page.get_by_label("Name").fill("auditor one")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password", exact=True).press("Enter")
    page.wait_for_url(ui.url + "/dagster/runs?view=all")
