"""Asks Dagster's webserver which assets failed in their latest run, and which checks failed with severity ERROR."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fine_tune_assets.core.dagster_ui import BASE_URL, PATH_PREFIX, code_location, webserver_socket

TIMEOUT_SECONDS = 5.0
_REASON = "reason"
"""Metadata of a check's result (`defs.platform.metadata.REASON`; the desk does not load Dagster)."""
_CHECKS = """query DeskChecks { assetNodes { assetKey { path } groupName repository { location { name } }
  assetChecksOrError { ... on AssetChecks { checks {
  name blocking executionForLatestMaterialization { status evaluation { severity
  metadataEntries { label ... on TextMetadataEntry { text } } } } } } } } }"""
_RUNS = """query DeskRuns($keys: [AssetKeyInput!]!) { assetsLatestInfo(assetKeys: $keys) { assetKey { path }
  latestMaterialization { runId } latestRun { id status } } }"""


@dataclass(frozen=True)
class AssetFailure:
    asset: str
    check: str
    """Empty if the run failed."""
    path: str
    """The page of the Dagster UI about it."""
    reason: str = ""
    """Why the check failed, and what mends it."""
    closes_stage: str = ""
    """The stage of the asset if the failed check is a gate: nothing after it runs."""


def list_failures(run_folder: Path, line: str) -> list[AssetFailure]:
    """Failed runs, then failed checks of a product line's assets (empty: the main line), in the order of the assets.

    `run_folder`: of the installation. Raises httpx.HTTPError if the webserver does not answer.
    """
    with _open_client(run_folder) as client:
        nodes = _read_nodes(client, line)
        keys = [{"path": node["assetKey"]["path"]} for node in nodes]
        latest = _query(client, _RUNS, {"keys": keys})["assetsLatestInfo"]
    return [*_list_failed_runs(latest), *_list_failed_checks(nodes)]


def list_closed_gates(run_folder: Path, line: str) -> list[AssetFailure]:
    """The failed checks behind which nothing runs. Arguments and errors as in `list_failures`."""
    with _open_client(run_folder) as client:
        return [failure for failure in _list_failed_checks(_read_nodes(client, line)) if failure.closes_stage]


def _open_client(run_folder: Path) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(webserver_socket(run_folder)))
    return httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS, trust_env=False)


def _read_nodes(client: httpx.Client, line: str) -> list[dict[str, Any]]:
    nodes, location = _query(client, _CHECKS, {})["assetNodes"], code_location(line)
    return [node for node in nodes if node["repository"]["location"]["name"] == location]


def _query(client: httpx.Client, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    reply = client.post(f"{BASE_URL}/graphql", json={"query": query, "variables": variables})
    try:
        data = reply.raise_for_status().json().get("data")
    except ValueError:
        data = None
    if not data:
        raise httpx.DecodingError("Dagster answered with errors.")
    return dict(data)


def _list_failed_runs(latest: list[dict[str, Any]]) -> Iterator[AssetFailure]:
    """An asset that the failed run still materialized did not fail."""
    for info in latest:
        run, materialization = info["latestRun"], info["latestMaterialization"]
        if run and run["status"] == "FAILURE" and not (materialization and materialization["runId"] == run["id"]):
            yield AssetFailure("/".join(info["assetKey"]["path"]), "", f"{PATH_PREFIX}/runs/{run['id']}")


def _list_failed_checks(nodes: list[dict[str, Any]]) -> Iterator[AssetFailure]:
    for node in nodes:
        asset = "/".join(node["assetKey"]["path"])
        for check in node["assetChecksOrError"].get("checks", ()):
            if _is_failed(execution := check["executionForLatestMaterialization"]):
                path = f"{PATH_PREFIX}/assets/{asset}?view=checks&checkDetail={check['name']}"
                entries = (execution["evaluation"] or {}).get("metadataEntries", ())
                reason = next((entry["text"] for entry in entries if entry["label"] == _REASON and "text" in entry), "")
                yield AssetFailure(asset, check["name"], path, reason, node["groupName"] if check["blocking"] else "")


def _is_failed(execution: dict[str, Any] | None) -> bool:
    if execution is None:
        return False
    is_error = (execution["evaluation"] or {}).get("severity") == "ERROR"
    return execution["status"] == "EXECUTION_FAILED" or (execution["status"] == "FAILED" and is_error)
