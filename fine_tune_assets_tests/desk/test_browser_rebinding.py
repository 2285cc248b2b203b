"""DNS rebinding in a real Chromium: a page of a stranger's name that now resolves to this machine reaches no service."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.gateway_app import create_line_apps
from fine_tune_assets.gateway.host_guard import HostGuard, find_host_names
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import start_app
from fine_tune_assets_tests.system_programs import CHROMIUM, require_program

STRANGER = "rebound.example"
REQUEST = """async ([path, method, headers]) => {
  const reply = await fetch(path, {method, headers, body: method === 'POST' ? '{}' : undefined, credentials: 'include'});
  return [reply.status, await reply.text()];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """In which the stranger's name resolves to this machine, as after a rebinding."""
    arguments = ["--no-sandbox", "--disable-gpu", f"--host-resolver-rules=MAP {STRANGER} 127.0.0.1"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=require_program(CHROMIUM), args=arguments)
        yield opened
        opened.close()


def _from_the_stranger(page: Page, port: int, path: str, method: str, headers: dict[str, str]) -> tuple[int, str]:
    """What a script of the stranger's page reads, for which the service is of its own origin."""
    page.goto(f"http://{STRANGER}:{port}/")
    assert urlsplit(page.url).hostname == STRANGER
    status, text = page.evaluate(REQUEST, [path, method, headers])
    return status, text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "method"),
    [("/sign-in", "GET"), ("/", "GET"), ("/dagster/graphql", "POST"), ("/dagster/runs", "GET"), ("/health", "GET")],
)
def test_a_rebound_page_reads_nothing_from_the_desk(page: Page, site: Site, path: str, method: str) -> None:
    """Nor from the Dagster UI behind it. The browser sends the stranger's name as Host."""
    port = site.settings.desk.port
    assert page.goto(f"{site.url}/sign-in").status == 200  # type: ignore[union-attr]
    status, text = _from_the_stranger(page, port, path, method, {"content-type": "application/json"})
    assert status == 421
    assert "form_token" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "method"), [("/v1/models", "GET"), ("/v1/chat/completions", "POST"), ("/health", "GET")]
)
def test_a_rebound_page_reads_nothing_from_the_gateway(page: Page, tmp_path: Path, path: str, method: str) -> None:
    """Even with a key: a stranger's page may have been given one that is valid inside this network only."""
    settings, port = Settings(data_dir=tmp_path / "data"), free_port()
    with ExitStack() as stack:
        ledger = fresh_ledger(settings)
        stack.callback(ledger.close)
        secret = create_key(ledger, "asks", ["chat"]).secret
        gateway = HostGuard(create_line_apps(settings), find_host_names(settings))
        stack.callback(start_app(gateway, port, log_level="error"))
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        status, text = _from_the_stranger(page, port, path, method, headers)
    assert status == 421
    assert "unknown_host" in text
