"""A running desk for the desk's tests: a real server on loopback, and a real Chromium.

Owns starting both, users to sign in as, and signing in over HTTP and in the browser.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from fine_tune_assets.core.limited_http import build_server_options
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.web_services import redact_exceptions
from fine_tune_assets.desk.desk_app import create_app
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.installation import fill
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import start_app
from fine_tune_assets_tests.system_programs import CHROMIUM, require_program

PASSWORD = "seven grey herons at dusk"
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]{64})"')


@dataclass(frozen=True)
class Site:
    """A desk that runs."""

    settings: Settings
    ledger: Ledger

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.desk.port}"

    def add(self, name: str, *roles: str) -> None:
        create_user(self.ledger, name, roles, password=PASSWORD, oidc_identity=None, now=datetime.now(UTC))

    def visitor(self) -> "Visitor":
        return Visitor(self.url)

    def signed_in(self, name: str) -> "Visitor":
        visitor = self.visitor()
        assert visitor.sign_in(name).status_code == 303
        return visitor


class Visitor:
    """A browser without a screen: keeps cookies, sends what a page's form would send."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=30)

    def get(self, path: str, **options: object) -> httpx.Response:
        return self.client.get(path, **options)  # type: ignore[arg-type]

    def token(self, path: str) -> str:
        """The token of the first form on a page."""
        found = _TOKEN.search(self.get(path).text)
        assert found is not None, f"{path} has no form"
        return found[1]

    def post(
        self, path: str, form: dict[str, object], page: str, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a form as the page would, with its token and the browser's `Origin` header."""
        data = {"form_token": self.token(page), **form}
        return self.client.post(path, data=data, headers={"origin": self.url, **(headers or {})})

    def version(self, example_id: str) -> str:
        """Of an item, as its page says when it is opened."""
        found = re.search(r'name="version" value="(\d+)"', self.get(f"/items/{example_id}").text)
        assert found is not None
        return found[1]

    def approve(self, draft: dict[str, Any], output: str | None = None, **changes: object) -> httpx.Response:
        """Open the item, acknowledge every flag and sign; with an `output` as repaired."""
        item = f"/items/{draft['example_id']}"
        meaning = "approve" if output is None else "approve_repaired"
        form = {"decision": "approve", "output": output or draft["output"], "meaning": meaning}
        form["version"] = self.version(draft["example_id"])
        signature = self.signature(draft, form["output"])
        return self.post(f"{item}/decide", {**form, **signature, **changes}, page="/account")

    def signature(self, draft: dict[str, Any], output: str) -> dict[str, Any]:
        """What the dialog of an approval sends if every flag is ticked."""
        shown = self.post(f"/items/{draft['example_id']}/signature-preview", {"output": output}, page="/account").text
        signed = "".join(re.findall(r'name="signed" value="([0-9a-f]{64})"', shown))
        return {"signed": signed, "acknowledged": re.findall(r'name="acknowledged" value="([0-9a-f]{64})"', shown)}

    def reject(self, draft: dict[str, Any], reason_code: str = "unsupported", **changes: str) -> httpx.Response:
        item = f"/items/{draft['example_id']}"
        form = {"decision": "reject", "reason_code": reason_code, "meaning": "reject"}
        form["version"] = self.version(draft["example_id"])
        return self.post(f"{item}/decide", {**form, **changes}, page="/account")

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        return self.post("/sign-in", {"name": name, "password": password}, page="/sign-in")


def acknowledge_flags(page: Page) -> None:
    """Wait for the dialog of an approval, and tick every flag in it."""
    page.get_by_role("button", name=re.compile("^Sign and approve")).wait_for()
    for box in page.locator("#approve-dialog").get_by_role("checkbox").all():
        box.check()


def keep_no_edits(page: Page) -> None:
    """Let the comparisons of a typed text fail, with which the server keeps it."""
    page.route("**/diff", lambda route: route.abort())


def start_desk(settings: Settings) -> Callable[[], None]:
    """Serve in a thread, and return what stops it."""
    app = redact_exceptions(create_app(settings))  # type: ignore[arg-type]
    return start_app(app, settings.desk.port, log_level="info", **build_server_options(settings.connections))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", desk={"port": free_port()})


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[..., Site]]:
    """Start a desk with changed settings; stopped at the end of the test."""
    stops: list[Callable[[], None]] = []

    def start(**changes: object) -> Site:
        own = changed(settings, **changes)
        ledger = fresh_ledger(own)
        stops.append(start_desk(own))
        stops.append(ledger.close)
        return Site(own, ledger)

    yield start
    for stop in stops:
        stop()


@pytest.fixture
def ward(serve: Callable[..., Site], settings: Settings) -> Callable[..., Site]:
    """Start a desk with a queue of notes from a ward; `fields` and `review` change the recipe and how it wants them reviewed."""

    def start(count: int = 6, fields: dict[str, object] | None = None, **review: object) -> Site:
        ledger = fresh_ledger(settings)
        filled = fill(settings, ledger, count=count, review=review, **(fields or {}))
        ledger.close()
        return serve(recipe=filled.recipe)

    return start


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    return serve()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one module only: as long as it is open nothing else in this thread may run a loop of asyncio's."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=require_program(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def sign_in_at(page: Page, site: Site, name: str) -> None:
    sign_in_on(page, site.url, name)


def correct_on(page: Page, better: str, kind: str) -> None:
    """Correct the only answer on the page, and wait until the page confirms it."""
    page.locator(".exchange summary").click()
    page.get_by_label("The better answer").fill(better)
    page.get_by_label("What was wrong").select_option(kind)
    page.get_by_label("Severity").select_option("medium")
    page.get_by_role("button", name="Send the correction").click()
    page.get_by_text("Your correction is recorded").wait_for()


def sign_in_on(page: Page, url: str, name: str) -> None:
    page.goto(f"{url}/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("button", name="Sign out").wait_for()
