"""People who use the Dagster UI of a running installation, over HTTP and in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import httpx
from playwright.sync_api import Page

from fine_tune_assets.core.dagster_ui import DEFINITIONS
from fine_tune_assets.core.permissions import ROLES
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.defs.local_run import create_databases
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.conftest import PASSWORD, Visitor

SERVICES = ("desk", "code-server", "dagster-webserver", "dagster-daemon")
ROLES_SHOWN = ("approver", "auditor", "operator")
JOB = {"repositoryLocationName": DEFINITIONS, "repositoryName": "__repository__", "jobName": "__ASSET_JOB"}
LAUNCH = """mutation L($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message } } }"""


class Ui:
    """A running installation, and people who use its UI."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.url = settings, settings.desk_address
        self.ledger = open_ledger(settings)
        for role in ROLES:
            create_user(
                self.ledger, f"{role} one", [role], password=PASSWORD, oidc_identity=None, now=datetime.now(UTC)
            )

    def signed_in(self, role: str) -> Visitor:
        visitor = Visitor(self.url)
        visitor.client.timeout = httpx.Timeout(120)
        assert visitor.sign_in(f"{role} one").status_code == 303
        return visitor

    def send(
        self, visitor: Visitor, query: str, headers: dict[str, str] | None = None, **variables: Any
    ) -> httpx.Response:
        body = {"query": query, "variables": variables}
        return visitor.client.post("/dagster/graphql", json=body, headers={"origin": self.url} | (headers or {}))

    def launch(self, visitor: Visitor, *assets: str) -> dict[str, Any]:
        selector = JOB | {"assetSelection": [{"path": asset.split("/")} for asset in assets]}
        reply = self.send(visitor, LAUNCH, p={"selector": selector, "mode": "default", "runConfigData": "{}"})
        assert reply.status_code == 200, reply.text
        return dict(reply.json()["data"]["launchPipelineExecution"])

    def audited(self) -> list[tuple[str, str, str]]:
        entries = audit.list_entries(self.ledger)
        return [(e.actor, e.action, e.resource) for e in entries if e.action.startswith("Dagster: ")]


@contextmanager
def running_ui() -> Iterator[Ui]:
    """Start the services of the installation that the environment points to; stop them at the end."""
    settings = changed(load_settings(), desk={"port": free_port()})
    with dg.DagsterInstance.get() as instance:
        create_databases(instance)
    try:
        start_services(settings, SERVICES)
        found = Ui(settings)
        yield found
        found.ledger.close()
    finally:
        stop_services(settings, SERVICES)


def open_as(page: Page, ui: Ui, role: str, path: str) -> None:
    """By way of the sign-in, which leads back to the page."""
    page.goto(ui.url + path)
    page.get_by_label("Name").fill(f"{role} one")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password", exact=True).press("Enter")
    page.wait_for_url(ui.url + path)


def press_terminate(page: Page) -> None:
    """On the page of a run, with the confirmation."""
    page.get_by_role("button", name="Terminate").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate 1 run").click()
