"""A release whose files change while it serves is taken out at once, and users return to the last intact one."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.processes import is_alive
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.notification_log import list_changed_releases
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.serving import release_watch
from fine_tune_assets.serving.release_watch import VERIFY_AGAIN, ReleaseWatch
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets_tests.ledger.ledger_rows import deployment_of
from fine_tune_assets_tests.serving.load import KEEP, Running, installation, state_of, wait
from fine_tune_assets_tests.serving.tiny_releases import build_release, engine_process, switched

pytestmark = pytest.mark.xdist_group("serving")
NOW = datetime.now(UTC)


@pytest.fixture
def served(settings: Settings, ledger: Ledger) -> Path:
    """The folder of a live release, whose engine is only in the ledger."""
    release_id = build_release(settings, ledger, "You are brief.")
    switched(ledger, release_id)
    release = find_release(ledger, release_id)
    assert release is not None
    return with_own_model(settings.data_dir / release.folder)


def with_own_model(folder: Path) -> Path:
    """A copy in place of the hard link to the package's model, which these tests must not change."""
    (model,) = folder.glob("*.gguf")
    shutil.copy(model, folder / "copy")
    os.replace(folder / "copy", model)
    return folder


def change(path: Path) -> None:
    """One byte in place, with the times as they were: only ctime tells."""
    before = path.stat()
    assert before.st_nlink == 1
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))
    path.chmod(0o400)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_changed_byte_is_found_and_an_unchanged_release_is_read_once(
    settings: Settings, ledger: Ledger, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing 140 GB every few seconds is impossible; looking at times costs nothing."""
    watch = ReleaseWatch(settings, ledger)
    assert watch.find_changed(NOW) == []
    with monkeypatch.context() as patch:
        patch.delattr(release_watch, "SignedReleases")  # nothing is verified again
        assert watch.find_changed(NOW + timedelta(hours=1)) == []
    change(next(served.glob("*.gguf")))
    (found,) = watch.find_changed(NOW + timedelta(hours=1))
    live = find_live_deployment(ledger)
    assert live is not None
    assert found.deployment_id == live.deployment_id
    assert ".gguf" in found.reason


def test_every_release_is_verified_again_once_a_day(settings: Settings, ledger: Ledger, served: Path) -> None:
    """A disk can change bytes without changing times."""
    watch = ReleaseWatch(settings, ledger)
    assert watch.find_changed(NOW) == []
    (name,) = watch._verified
    change(next(served.glob("*.gguf")))
    watch._verified[name] = release_watch._Verified(release_watch.read_states(served), None, NOW)
    assert watch.find_changed(NOW + VERIFY_AGAIN - timedelta(seconds=1)) == []
    assert len(watch.find_changed(NOW + VERIFY_AGAIN)) == 1


@pytest.mark.parametrize("what", ["missing", "added"])
def test_a_missing_or_added_file_is_found(settings: Settings, ledger: Ledger, served: Path, what: str) -> None:
    """The signature covers the whole folder."""
    watch = ReleaseWatch(settings, ledger)
    assert watch.find_changed(NOW) == []
    served.chmod(0o700)
    if what == "added":
        (served / "more.txt").write_text("x")
    else:
        next(served.glob("*.gguf")).unlink()
    assert len(watch.find_changed(NOW)) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_kept", [True, False])
def test_users_of_a_changed_release_return_to_the_last_intact_one(tmp_path: Path, is_kept: bool) -> None:
    """At once if its engine is kept; otherwise when a new engine has verified and probed it."""
    from fine_tune_assets.engines.running_server import free_port

    settings = Settings(data_dir=tmp_path, gateway={"port": free_port()}, threads=2)
    with installation(settings) as running:
        first = running.live()
        kept = KEEP if is_kept else None
        release_id = running.release()
        folder = with_own_model(_folder_of(running, release_id))
        second = deploy_release(running.ledger, release_id, timeout_seconds=120, retention=lambda: kept)
        if not is_kept:
            wait(lambda: state_of(running, first.deployment_id) == "stopped", 60)
        engine = engine_process(settings, second.deployment_id)
        change(next(folder.glob("*.gguf")))
        wait(lambda: not is_alive(engine), 60)
        wait(lambda: running.ask().headers.get("x-release-id") == first.release_id, 120)
        wait(lambda: state_of(running, second.deployment_id) == "failed", 60)  # by the supervisor's next tick
        assert ".gguf" in deployment_of(running.ledger, second.deployment_id).detail
        (told,) = list_changed_releases(running.ledger, NOW - timedelta(hours=1))
        assert second.deployment_id in told


def _folder_of(running: Running, release_id: str) -> Path:
    release = find_release(running.ledger, release_id)
    assert release is not None
    return running.settings.data_dir / release.folder
