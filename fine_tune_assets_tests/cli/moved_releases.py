"""Two installations, a release that moves from one to the other, and archives that were modified in transit."""

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fine_tune_assets.cli.releases.release_imports import ImportRequest, import_release
from fine_tune_assets.core.fingerprints import fingerprint_files
from fine_tune_assets.core.releases.release_archives import unpack_release, write_release_archive
from fine_tune_assets.core.releases.release_folders import ReleaseFolder, hash_release_files
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.audit_head import HEAD_FILE
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.imported_releases import list_imports
from fine_tune_assets.ledger.serving.release_records import list_recorded_releases
from fine_tune_assets.serving.release_probes import ProbeResult
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

PASSED = ProbeResult(probe_count=2, matching_prompts=2, matching_answers=2, minimum_greedy_agreement=1.0)
Member = tuple[tarfile.TarInfo, bytes]
Change = Callable[[list[Member]], list[Member]]


@dataclass
class Installation:
    """One that has nothing yet. Its probes pass without an engine, and are counted."""

    settings: Settings
    ledger: Ledger
    probed: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def take(self, archive: Path, public_key: Path) -> str:
        return import_release(
            ImportRequest(archive, public_key, "An Operator"),
            self.settings,
            self.ledger,
            self.messages.append,
            self._probe,
            unpack_release,  # in this process: there are hundreds of hostile archives
        )

    def _probe(self, release: ReleaseFolder, _settings: Settings) -> ProbeResult:
        self.probed.append(release.release_id)
        return PASSED

    @property
    def state(self) -> object:
        """All that an import may change: files but for the ledger's own, and what the ledger says."""
        files = {n: f for n, f in fingerprint_files(self.settings.data_dir).items() if not n.startswith("ledger/")}
        files = {name: fingerprint for name, fingerprint in files.items() if HEAD_FILE not in name}
        files.pop("run/import.lock", None)
        folders = {p.name for p in self.settings.layout.releases.glob("*")}
        rows = (list_recorded_releases(self.ledger), list_imports(self.ledger), audit.list_entries(self.ledger))
        return files, folders, rows


@contextmanager
def installation(data_dir: Path) -> Iterator[Installation]:
    settings = Settings(data_dir=data_dir, threads=2)
    ledger = fresh_ledger(settings)
    try:
        yield Installation(settings, ledger)
    finally:
        ledger.close()


def packed(release: ReleaseFolder, archive: Path) -> Path:
    write_release_archive(release.folder, hash_release_files(release.folder), archive)
    return archive


def members(archive: Path) -> list[Member]:
    with tarfile.open(archive, "r:") as tar:
        return [(entry, tar.extractfile(entry).read()) for entry in tar]  # type: ignore[union-attr]


def repacked(archive: Path, target: Path, change: Change) -> Path:
    """Repack like an attacker who knows the format and lacks the private key."""
    write_members(target, change(members(archive)))
    return target


def write_members(target: Path, changed: Sequence[Member]) -> None:
    with tarfile.open(target, "w:", format=tarfile.GNU_FORMAT) as tar:
        for entry, content in changed:
            entry.size = len(content) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(content) if entry.isreg() else None)


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, 0o600
    return made
