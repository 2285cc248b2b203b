"""The release that the repository ships, so that a new installation can answer before its first training."""

from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.paths import PROJECT_DIR

FOLDER = PROJECT_DIR / "data" / "shipped_release"
"""Contains `<release_id>.tar` and the public key of its signature."""
PUBLIC_KEY = "release.pub"


@dataclass(frozen=True)
class ShippedRelease:
    archive: Path
    public_key: Path

    @property
    def release_id(self) -> str:
        return self.archive.name.partition(".")[0]


def find_shipped_release(folder: Path = FOLDER) -> ShippedRelease | None:
    """None if the folder contains no release."""
    found, key = sorted(folder.glob("*.tar")), folder / PUBLIC_KEY
    return ShippedRelease(found[0], key) if found and key.is_file() else None
