"""Watches the files of served releases and of the base models below them: an engine maps its model, so it would answer with
changed weights at once.

A release whose files' sizes, times or inodes changed is verified again, and every release once a day. Finds only; the supervisor
acts.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from fine_tune_assets.core.fingerprints import FileStates, fingerprint_file, fingerprint_folder, read_states
from fine_tune_assets.core.releases.release_folders import ReleaseError, ReleaseFolder
from fine_tune_assets.core.releases.release_signing import SignedReleases
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import EngineError
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.deployments import Deployment, list_current_deployments
from fine_tune_assets.ledger.serving.imported_releases import find_import_key
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.serving.engine_start import find_base

VERIFY_AGAIN = timedelta(days=1)


@dataclass(frozen=True)
class ChangedRelease:
    deployment_id: str
    reason: str


@dataclass(frozen=True)
class _Verified:
    files: FileStates
    base: Path | None
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
        known = self._verified.get(deployment.deployment_id)
        try:
            files = read_states(folder)
        except OSError:
            return None
        if known is not None and known.files == files | read_base_states(known.base) and now - known.at < VERIFY_AGAIN:
            return None
        key = find_import_key(self._ledger, release.release_id)
        try:
            # A new verifier each time: a cached hash is what the daily check must not rely on.
            verified = SignedReleases(self._settings.layout.keys).verify(folder, release.release_id, key)
            base = find_base(verified, self._settings)
            files |= read_base_states(base)
            if base is not None and known is not None:
                _require_base(verified, base)
        except OSError:
            return None  # unreadable for now: it is looked at again, and the engine has its model open
        except (ReleaseError, EngineError) as error:
            return ChangedRelease(deployment.deployment_id, str(error))
        self._verified[deployment.deployment_id] = _Verified(files, base, now)
        return None


def _require_base(release: ReleaseFolder, base: Path) -> None:
    """Hash the base model, without a cache. Raises ReleaseError if it is not the one that the adapter was judged on."""
    wanted = release.base_gguf or release.manifest["base_fingerprint"]
    if wanted != (fingerprint_folder(base) if base.is_dir() else fingerprint_file(base)):
        raise ReleaseError(f"Release {release.release_id}: its base model {base.name} has changed.")


def read_base_states(base: Path | None) -> FileStates:
    """The states of the base model's files, under names that no file of a release has. A missing one has none."""
    try:
        return {} if base is None else {f"base model/{name}": state for name, state in read_states(base).items()}
    except OSError:
        return {}
