"""The release that comes with the repository, so that a new installation answers before it has trained anything."""

from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.paths import PROJECT_DIR

FOLDER = PROJECT_DIR / "data" / "shipped_release"
"""Holds `<release_id>.tar` and the public key that proves it."""
PUBLIC_KEY = "release.pub"


@dataclass(frozen=True)
class ShippedRelease:
    archive: Path
    public_key: Path

    @property
    def release_id(self) -> str:
        return self.archive.name.partition(".")[0]


def shipped_release(folder: Path = FOLDER) -> ShippedRelease | None:
    """None where the repository ships none."""
    found, key = sorted(folder.glob("*.tar")), folder / PUBLIC_KEY
    return ShippedRelease(found[0], key) if found and key.is_file() else None
