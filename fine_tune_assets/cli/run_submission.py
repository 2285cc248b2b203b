"""Submits runs to the running Dagster services, as the Dagster UI does, through the webserver's socket.

A user who can open the socket can also read the data folder, and counts as an operator. Each submission is recorded in the audit
log before it is sent.
"""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import httpx

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.core.dagster_ui import (
    ASSET_JOB,
    AUDIT_PREFIX,
    BASE_URL,
    DAGSTER_PERMISSIONS,
    PARTITION_TAG,
    PERMISSIONS_HEADER,
    code_location,
    split_subject,
    webserver_socket,
)
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.permissions import Action
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.defs.platform.asset_keys import line_tags
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import open_ledger

TIMEOUT_SECONDS = 60.0
MUTATION = "launchMultipleRuns"
_QUERY = """
mutation Submit($runs: [ExecutionParams!]!) {
  launchMultipleRuns(executionParamsList: $runs) {
    __typename
    ... on LaunchMultipleRunsResult { launchMultipleRunsResult {
      __typename
      ... on LaunchRunSuccess { run { runId } }
      ... on Error { message }
    } }
    ... on Error { message }
  }
}
"""
_JOB = {"repositoryName": "__repository__", "jobName": ASSET_JOB}


class SubmissionError(FineTuneError):
    """Dagster did not accept a run."""


def submit_runs(settings: Settings, runs: Sequence[tuple[str | None, Sequence[str]]]) -> list[str]:
    """Submit one run for each (partition, assets), and return the run ids. Raises SubmissionError."""
    batches = [f"{PARTITION_TAG} {partition}" for partition, _ in runs if partition is not None]
    names = sorted({name for _, assets in runs for name in assets})
    with closing(open_ledger(settings)) as ledger:
        for part in split_subject("; ".join([f"assets {', '.join(names)}", *batches])):
            audit.append(ledger, operating_system_user(), AUDIT_PREFIX + MUTATION, part)
    body = {"query": _QUERY, "variables": {"runs": [_describe_run(settings.line, *run) for run in runs]}}
    headers = {PERMISSIONS_HEADER: " ".join(DAGSTER_PERMISSIONS[Action.LAUNCH_RUNS])}
    transport = httpx.HTTPTransport(uds=str(webserver_socket(settings.installation.layout.run)))
    try:
        with httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            reply = client.post(f"{BASE_URL}/graphql", json=body, headers=headers).json()
    except httpx.ConnectError:
        raise SubmissionError(
            "The Dagster webserver does not run. Start it with `fine-tune up dagster-webserver`, then try again."
        ) from None
    except (httpx.HTTPError, ValueError):
        raise SubmissionError(
            f"Dagster did not answer. The runs may have been submitted: look at {settings.dagster_address}/runs first."
        ) from None
    return _read_run_ids(reply)


def _describe_run(line: str, partition: str | None, assets: Sequence[str]) -> dict[str, Any]:
    keys = [{"path": [*([line] if line else []), *name.split("/")]} for name in assets]
    tags = [{"key": key, "value": value} for key, value in line_tags().items()]
    tags += [] if partition is None else [{"key": PARTITION_TAG, "value": partition}]
    selector = {**_JOB, "repositoryLocationName": code_location(line), "assetSelection": keys}
    return {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}


def _read_run_ids(reply: dict[str, Any]) -> list[str]:
    found = ((reply.get("data") or {}).get("launchMultipleRuns") or {}).get("launchMultipleRunsResult")
    if found is None:
        raise SubmissionError(f"Dagster refused the runs: {_find_message(reply)}")
    refused = [one for one in found if one["__typename"] != "LaunchRunSuccess"]
    if refused:
        raise SubmissionError(f"Dagster refused {len(refused)} of {len(found)} runs: {_find_message(refused[0])}")
    return [one["run"]["runId"] for one in found]


def _find_message(value: Any) -> str:
    """The first message in nested results."""
    if isinstance(value, dict):
        if isinstance(value.get("message"), str):
            return str(value["message"])
        value = list(value.values())
    inner = map(_find_message, value) if isinstance(value, list) else ()
    return next((text for text in inner if text), "")
