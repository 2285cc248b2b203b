"""Two product lines in one real Dagster UI: operators launch the assets of their line, and Dagster refuses the other's too."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from fine_tune_assets.cli.service_commands import prepare
from fine_tune_assets.core.dagster_ui import (
    BASE_URL,
    CODE_SERVER,
    DEFINITIONS,
    WEBSERVER,
    permission_headers,
    webserver_socket,
)
from fine_tune_assets.core.product_lines import create_line
from fine_tune_assets.core.settings import Settings, load_settings, select_line
from fine_tune_assets.defs.local_run import create_databases
from fine_tune_assets.desk.asset_failures import AssetFailure, list_failures
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.conftest import create_installation, write_recipe
from fine_tune_assets_tests.desk.conftest import PASSWORD, Visitor
from fine_tune_assets_tests.end_to_end.dagster_ui_user import JOB, LAUNCH

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LAW = "law"
OPERATOR = "Operator One"


@pytest.fixture(scope="module")
def main(tmp_path_factory: pytest.TempPathFactory, dagster_home: Path) -> Iterator[Settings]:
    """Without a daemon, so that launched runs stay in the queue."""
    with pytest.MonkeyPatch.context() as patch:
        data = create_installation(tmp_path_factory.mktemp("lines"), patch, dagster_home)
        recipe = write_recipe(data, base_model={"folder": str(data / "no-such-model")})
        settings = changed(load_settings(), desk={"port": free_port()})
        create_line(settings, LAW, str(recipe))
        law = select_line(settings, LAW)
        prepare(law)
        with dg.DagsterInstance.get() as instance:
            create_databases(instance)
        for line in (settings, law):
            with closing(open_ledger(line)) as ledger:
                create_user(
                    ledger, OPERATOR, ["operator"], password=PASSWORD, oidc_identity=None, now=datetime.now(UTC)
                )
        services = ("desk", CODE_SERVER, WEBSERVER)
        try:
            start_services(law, (CODE_SERVER,))
            start_services(settings, services)
            yield settings
        finally:
            stop_services(settings, services)
            stop_services(law, (CODE_SERVER,))


def operator_of(main: Settings, line: str) -> Visitor:
    visitor = Visitor(main.desk_address)
    visitor.client.timeout = httpx.Timeout(120)
    visitor.get(f"/lines/{line}")
    assert visitor.sign_in(OPERATOR).status_code == 303
    return visitor


def launch(visitor: Visitor, location: str, *path: str) -> httpx.Response:
    body = {"query": LAUNCH, "variables": {"p": _run(location, *path)}}
    return visitor.client.post("/dagster/graphql", json=body, headers={"origin": visitor.url})


def _run(location: str, *path: str) -> dict[str, Any]:
    selector = JOB | {"repositoryLocationName": location, "assetSelection": [{"path": list(path)}]}
    return {"selector": selector, "mode": "default", "runConfigData": "{}"}


def send_past_the_desk(main: Settings, line: str, query: str, **variables: Any) -> Mapping[str, Any]:
    """To the webserver's socket, as the desk would for an operator of a line."""
    headers = permission_headers(["operator"], line)
    transport = httpx.HTTPTransport(uds=str(webserver_socket(main.layout.run)))
    with httpx.Client(transport=transport, trust_env=False, timeout=60) as client:
        body = {"query": query, "variables": variables}
        reply = client.post(f"{BASE_URL}/graphql", json=body, headers=headers).json()
    assert "errors" not in reply, reply
    return next(iter(reply["data"].values()))  # type: ignore[no-any-return]


def test_operators_launch_the_assets_of_their_line(main: Settings) -> None:
    """And the desk refuses the other line's."""
    lines = {LAW: (LAW, (LAW, "base_models")), "main": (DEFINITIONS, ("base_models",))}
    for line, (location, path) in lines.items():
        visitor = operator_of(main, line)
        launched = launch(visitor, location, *path)
        assert launched.json()["data"]["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess", launched.text
        for foreign, foreign_path in (value for name, value in lines.items() if name != line):
            assert launch(visitor, foreign, *foreign_path).status_code == 403


def test_dagster_itself_refuses_what_belongs_to_another_line(main: Settings) -> None:
    """A fault in the desk's check must not be enough."""
    made = send_past_the_desk(main, "", LAUNCH, p=_run(DEFINITIONS, "base_models"))
    run_id = made["run"]["runId"]
    refused = send_past_the_desk(main, LAW, LAUNCH, p=_run(DEFINITIONS, "base_models"))
    assert refused["__typename"] == "UnauthorizedError"
    own = send_past_the_desk(main, LAW, LAUNCH, p=_run(LAW, LAW, "base_models"))
    assert own["__typename"] == "LaunchRunSuccess"
    for query in (
        "mutation { reloadWorkspace { __typename } }",
        f'mutation {{ reloadRepositoryLocation(repositoryLocationName: "{DEFINITIONS}") {{ __typename }} }}',
        'mutation { launchPartitionBackfill(backfillParams: {assetSelection: [{path: ["reports"]}], '
        'partitionNames: ["x"]}) { __typename } }',
    ):
        assert send_past_the_desk(main, LAW, query)["__typename"] == "UnauthorizedError", query
    terminate = f'mutation {{ terminateRun(runId: "{run_id}") {{ __typename }} }}'
    assert send_past_the_desk(main, LAW, terminate)["__typename"] != "TerminateRunSuccess"
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert not run.is_finished


def test_the_failures_of_a_line_come_from_its_own_code_location(main: Settings) -> None:
    """Both lines have an asset `quantized_weights` whose check failed."""
    with dg.DagsterInstance.get() as instance:
        for path in (["quantized_weights"], [LAW, "quantized_weights"]):
            instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(path)))
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(path),
                    check_name="every_export_matches_merged_weights",
                    passed=False,
                    metadata={},
                    severity=dg.AssetCheckSeverity.ERROR,
                )
            )

    def failed_assets(line: str) -> set[str]:
        found: list[AssetFailure] = list_failures(main.layout.run, line)
        return {failure.asset for failure in found if failure.check}

    assert failed_assets("") == {"quantized_weights"}
    assert failed_assets(LAW) == {"law/quantized_weights"}
