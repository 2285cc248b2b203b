"""Watches the files of served releases: an engine maps its model, so it would answer with changed weights at once.

A release whose files' sizes, times or inodes changed is verified again, and every release once a day. Finds only; the supervisor
acts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fine_tune_assets.core.releases.release_folders import ReleaseError, ReleaseFolder
from fine_tune_assets.core.releases.release_signing import SignedReleases
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import EngineError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import Deployment, list_current_deployments
from fine_tune_assets.ledger.serving.imported_releases import find_import_key
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.serving.engine_start import find_gguf_files

VERIFY_AGAIN = timedelta(days=1)
FileStates = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class ChangedRelease:
    deployment_id: str
    reason: str


@dataclass(frozen=True)
class _Verified:
    files: FileStates
    at: datetime


class ReleaseWatch:
    """Used from one thread."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._verified: dict[str, _Verified] = {}

    def find_changed(self, now: datetime) -> list[ChangedRelease]:
        """Deployments with an engine whose release is no longer what was signed. Cheap while no file changes."""
        current = [each for each in list_current_deployments(self._ledger) if each.engine_url is not None]
        self._verified = {
            name: self._verified[name] for name in {d.deployment_id for d in current} & self._verified.keys()
        }
        return [found for found in (self._check(deployment, now) for deployment in current) if found is not None]

    def _check(self, deployment: Deployment, now: datetime) -> ChangedRelease | None:
        release = find_release(self._ledger, deployment.release_id)
        if release is None:
            return ChangedRelease(deployment.deployment_id, f"Release {deployment.release_id} is not in the ledger.")
        folder = self._settings.data_dir / release.folder
        try:
            files = read_states(folder)
        except OSError:
            return None
        known = self._verified.get(deployment.deployment_id)
        if known is not None and known.files == files and now - known.at < VERIFY_AGAIN:
            return None
        key = find_import_key(self._ledger, release.release_id)
        try:
            # A new verifier each time: a cached hash is what the daily check must not rely on.
            _require_base(SignedReleases(self._settings.layout.keys).verify(folder, release.release_id, key))
        except OSError:
            return None  # unreadable for now: it is looked at again, and the engine has its model open
        except (ReleaseError, EngineError) as error:
            return ChangedRelease(deployment.deployment_id, str(error))
        self._verified[deployment.deployment_id] = _Verified(files, now)
        return None


def _require_base(release: ReleaseFolder) -> None:
    """Raises EngineError if the base model of an adapter is not the one that it was judged on."""
    if release.base_gguf:
        find_gguf_files(release)


def read_states(folder: Path) -> FileStates:
    """Relative path → inode, size and times of the folder and each file. ctime can't be set back by a program.

    Raises OSError.
    """
    states = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        state = path.lstat()
        states[str(path.relative_to(folder))] = (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return states
