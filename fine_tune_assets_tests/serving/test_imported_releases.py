"""An imported release is started only if the key it was imported with proves it: neither its own nor any other will do."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fine_tune_assets.core.releases.release_keys import ensure_signing_key, imported_key_file, release_key_fingerprint
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import LOG
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.schema import imported_releases
from fine_tune_assets.ledger.serving.deployments import Deployment, want_release
from fine_tune_assets.serving.reconciliation import Pace
from fine_tune_assets.serving.supervisor import Supervisor
from fine_tune_assets_tests.cli.moved import Installation, installation, packed
from fine_tune_assets_tests.ledger.made import deployment_of
from fine_tune_assets_tests.merging.released import whole_release


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[tuple[Installation, str]]:
    release = whole_release(tmp_path / "a")
    with installation(tmp_path / "b") as here:
        ensure_signing_key(here.settings.layout.keys)
        here.take(packed(release, tmp_path / "x.tar"), tmp_path / "a" / "keys" / "releases.pub")
        yield here, release.release_id


def _looked_at(settings: Settings, ledger: Ledger, deployment_id: str) -> tuple[Deployment, bool]:
    """A deployment after the supervisor's first look at it, and whether an engine was started."""
    supervisor = Supervisor(settings, ledger, Pace())
    try:
        supervisor.tick(datetime.now(UTC))
    finally:
        supervisor.close()
    return deployment_of(ledger, deployment_id), (settings.layout.run / "engines" / deployment_id / LOG).exists()


def test_it_is_verified_with_the_key_that_it_was_imported_with(moved: tuple[Installation, str]) -> None:
    """An engine is started on it: these few bytes are no model, which is all that is wrong."""
    here, release_id = moved
    found, is_started = _looked_at(here.settings, here.ledger, want_release(here.ledger, release_id).deployment_id)
    assert is_started
    assert "sign" not in found.detail


@pytest.mark.parametrize("change", ["key gone", "key swapped", "row and key swapped", "row swapped", "file changed"])
def test_it_is_not_started_when_key_row_or_folder_were_changed(moved: tuple[Installation, str], change: str) -> None:
    """Whoever writes to the ledger alone swaps no key, and a key that is swapped with its row proves nothing that it did not
    sign."""
    here, release_id = moved
    layout, ledger = here.settings.layout, here.ledger
    key, own = imported_key_file(layout.keys, release_id), layout.keys / "releases.pub"
    deployment_id = want_release(ledger, release_id).deployment_id
    if change == "key gone":
        key.unlink()
    if change in ("key swapped", "row and key swapped"):
        shutil.copy(own, key)
    if change in ("row swapped", "row and key swapped"):
        with ledger.begin() as connection:
            connection.execute(imported_releases.update().values(key_fingerprint=release_key_fingerprint(own)))
    if change == "file changed":
        (layout.releases / release_id / "prompt.json").write_text("{}")
    found, is_started = _looked_at(here.settings, ledger, deployment_id)
    assert found.state == "failed"
    assert release_id in found.detail
    assert not is_started


def test_the_key_of_one_release_proves_no_other(moved: tuple[Installation, str], tmp_path: Path) -> None:
    """It is trusted for exactly what was imported with it: another release by the same signer is started only once imported."""
    from fine_tune_assets.core.releases.release_folders import ReleaseError
    from fine_tune_assets.core.releases.release_signing import SignedReleases

    here, release_id = moved
    other = whole_release(tmp_path / "a", facts={"recipe": "another"})
    fingerprint = release_key_fingerprint(tmp_path / "a" / "keys" / "releases.pub")
    verifier = SignedReleases(here.settings.layout.keys)
    shutil.rmtree(here.settings.layout.releases / release_id)
    shutil.copytree(other.folder, here.settings.layout.releases / release_id)
    with pytest.raises(ReleaseError, match="manifest was changed"):
        verifier.verify(here.settings.layout.releases / release_id, release_id, fingerprint)
    with pytest.raises(ReleaseError, match="no public key"):
        verifier.verify(other.folder, other.release_id, fingerprint)
