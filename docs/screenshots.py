"""Takes the README's screenshots of the desk, in a real Chromium, on a temporary installation: `make screenshots`.

It uses the installation of the desk's tests: invented notes, one queue. Add a line to `SHOTS` for another page.
"""

import logging
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from fine_tune_assets.cli.releases.release_imports import ImportRequest, import_release
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.shipped_release import find_shipped_release
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.conftest import PASSWORD, sign_in_on, start_desk
from fine_tune_assets_tests.desk.installation import fill
from fine_tune_assets_tests.serving.tiny_releases import switched
from fine_tune_assets_tests.system_programs import CHROMIUM

IMAGES = Path(__file__).parent / "images"
LARGEST_BYTES = 300_000
VIEWPORT = {"width": 1280, "height": 960}


@dataclass(frozen=True)
class Shot:
    """A page of the desk as a user with these roles sees it."""

    name: str
    path: str
    user: str
    roles: tuple[str, ...]


SHOTS = (
    Shot("first-page", "/", "demo", ("reviewer", "operator")),
    Shot("review", "/queue/next", "reviewer", ("reviewer",)),
)


def main() -> int:
    """Returns 1 if an image is larger than the README may load."""
    logging.disable(logging.INFO)
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(data_dir=Path(scratch) / "data", desk={"port": free_port()})
        ledger = open_ledger(settings)
        for shot in SHOTS:
            create_user(ledger, shot.user, shot.roles, password=PASSWORD, oidc_identity=None, now=datetime.now(UTC))
        filled = fill(settings, ledger)
        _serve_shipped(settings, ledger)
        stop = start_desk(changed(settings, recipe=filled.recipe))
        try:
            images = _take(f"http://127.0.0.1:{settings.desk.port}")
        finally:
            stop()
            ledger.close()
    for image in images:
        print(f"{image.stat().st_size:>8}  {image}")
    return int(any(image.stat().st_size > LARGEST_BYTES for image in images))


def _serve_shipped(settings: Settings, ledger: Ledger) -> None:
    """The first page names the production model: the release that comes with the repository, as `make demo` serves it."""
    shipped = find_shipped_release()
    assert shipped is not None
    given = ImportRequest(shipped.archive, shipped.public_key, "demo", is_placeholder=True)
    switched(ledger, import_release(given, settings, ledger, lambda _: None))


def _take(desk: str) -> list[Path]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM.find(), args=["--no-sandbox", "--disable-gpu"])
        images = [_shoot(browser, desk, shot) for shot in SHOTS]
        browser.close()
    return images


def _shoot(browser: Browser, desk: str, shot: Shot) -> Path:
    page = browser.new_page(viewport=VIEWPORT, color_scheme="light", reduced_motion="reduce")
    sign_in_on(page, desk, shot.user)
    page.goto(desk + shot.path)
    page.wait_for_load_state("networkidle")
    image = IMAGES / f"{shot.name}.png"
    page.screenshot(path=image)
    return image


if __name__ == "__main__":
    sys.exit(main())
