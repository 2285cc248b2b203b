"""The Dagster UI as `make up` starts it: everybody on the machine may look, nobody may start or forge anything."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.changed_settings import changed

pytestmark = pytest.mark.slow

WEBSERVER = ("dagster-webserver",)
LIMIT_OF_A_POOL = 'mutation { setConcurrencyLimit(concurrencyKey: "gpu", limit: 3) }'
WIPE = 'mutation { wipeAssets(assetPartitionRanges: [{assetKey: {path: ["recipe", "gate"]}}]) { __typename } }'


@pytest.fixture
def webserver(installation_dir: Path) -> Iterator[Settings]:
    assert installation_dir.is_dir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = changed(load_settings(), dagster={"port": port})
    start_services(settings, WEBSERVER)
    yield settings
    stop_services(settings, WEBSERVER)


def _ask(settings: Settings, query: str) -> dict[str, Any]:
    url = f"http://127.0.0.1:{settings.dagster.port}/graphql"
    return dict(httpx.post(url, json={"query": query}, timeout=60, trust_env=False).json())


def test_the_ui_shows_our_groups_and_lets_nobody_change_anything(
    webserver: Settings, instance: dg.DagsterInstance
) -> None:
    """It has no login, and takes commands from any web page that is open in somebody's browser."""
    nodes = _ask(webserver, "{ assetNodes { groupName description } }")["data"]["assetNodes"]
    groups = sorted({node["groupName"] for node in nodes})
    assert [name[:3] for name in groups] == [f"s{number:02}" for number in range(1, 11)]
    assert all(node["description"] for node in nodes)

    recipe = dg.AssetKey(["recipe", "gate"])
    instance.report_runless_asset_event(dg.AssetMaterialization(recipe))
    for mutation in (LIMIT_OF_A_POOL, WIPE):
        reply = _ask(webserver, mutation)
        assert "nauthorized" in str(reply) or "ermission" in str(reply), reply
    by_get = httpx.get(
        f"http://127.0.0.1:{webserver.dagster.port}/graphql", params={"query": WIPE}, timeout=60, trust_env=False
    )
    forged = httpx.post(
        f"http://127.0.0.1:{webserver.dagster.port}/report_asset_materialization/served_models",
        timeout=60,
        trust_env=False,
    )
    assert "nauthorized" in by_get.text or "ermission" in by_get.text
    assert forged.status_code == 401
    assert instance.get_latest_materialization_event(recipe) is not None
    assert instance.get_latest_materialization_event(dg.AssetKey("served_models")) is None
    assert "gpu" not in instance.event_log_storage.get_concurrency_keys()
