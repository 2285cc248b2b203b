"""An imported release is started only if it verifies with the key that it was imported with."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fine_tune_assets.core.releases.release_keys import ensure_signing_key, imported_key_file, release_key_fingerprint
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import LOG_FILE
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import imported_releases
from fine_tune_assets.ledger.serving.deployments import Deployment, request_deployment
from fine_tune_assets.serving.reconciliation import SupervisorTimings
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.cli.moved_releases import Installation, installation, packed
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of
from fine_tune_assets_tests.merging.whole_release import whole_release


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[tuple[Installation, str]]:
    release = whole_release(tmp_path / "a")
    with installation(tmp_path / "b") as here:
        ensure_signing_key(here.settings.layout.keys)
        here.take(packed(release, tmp_path / "x.tar"), tmp_path / "a" / "keys" / "releases.pub")
        yield here, release.release_id


def _after_one_tick(settings: Settings, ledger: Ledger, deployment_id: str) -> tuple[Deployment, bool]:
    """The deployment after one tick of the supervisor, and whether an engine was started."""
    supervisor = Supervisor(settings, ledger, SupervisorTimings())
    try:
        supervisor.tick(datetime.now(UTC))
    finally:
        supervisor.close()
    return deployment_of(ledger, deployment_id), (settings.layout.run / "engines" / deployment_id / LOG_FILE).exists()


def test_an_imported_release_is_verified_with_its_imported_key(moved: tuple[Installation, str]) -> None:
    """The engine starts and then fails, only because these bytes are not a model."""
    here, release_id = moved
    found, is_started = _after_one_tick(
        here.settings, here.ledger, request_deployment(here.ledger, release_id).deployment_id
    )
    assert is_started
    assert "sign" not in found.detail


@pytest.mark.parametrize("change", ["key gone", "key swapped", "row and key swapped", "row swapped", "file changed"])
def test_an_imported_release_is_not_started_if_key_row_or_folder_changed(
    moved: tuple[Installation, str], change: str
) -> None:
    """Write access to the ledger alone is not enough to replace a key, and a replaced key does not verify the release."""
    here, release_id = moved
    layout, ledger = here.settings.layout, here.ledger
    key, own = imported_key_file(layout.keys, release_id), layout.keys / "releases.pub"
    deployment_id = request_deployment(ledger, release_id).deployment_id
    if change == "key gone":
        key.unlink()
    if change in ("key swapped", "row and key swapped"):
        shutil.copy(own, key)
    if change in ("row swapped", "row and key swapped"):
        with ledger.begin() as connection:
            connection.execute(imported_releases.update().values(key_fingerprint=release_key_fingerprint(own)))
    if change == "file changed":
        (layout.releases / release_id / "prompt.json").write_text("{}")
    found, is_started = _after_one_tick(here.settings, ledger, deployment_id)
    assert found.state == "failed"
    assert release_id in found.detail
    assert not is_started


def test_an_imported_key_is_trusted_for_its_own_release_only(moved: tuple[Installation, str], tmp_path: Path) -> None:
    """Another release by the same signer must be imported first."""
    from fine_tune_assets.core.releases.release_folders import ReleaseError
    from fine_tune_assets.core.releases.release_signing import SignedReleases

    here, release_id = moved
    other = whole_release(tmp_path / "a", facts={"recipe": "another"})
    fingerprint = release_key_fingerprint(tmp_path / "a" / "keys" / "releases.pub")
    verifier = SignedReleases(here.settings.layout.keys)
    shutil.rmtree(here.settings.layout.releases / release_id)
    shutil.copytree(other.folder, here.settings.layout.releases / release_id)
    with pytest.raises(ReleaseError, match=f"{release_id}: its manifest"):
        verifier.verify(here.settings.layout.releases / release_id, release_id, fingerprint)
    with pytest.raises(ReleaseError, match=f"{other.release_id}.pub"):
        verifier.verify(other.folder, other.release_id, fingerprint)
