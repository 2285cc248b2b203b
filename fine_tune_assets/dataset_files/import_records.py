"""What an import stores about itself: its files with their hashes, its counts, and the refused rows with their reasons."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import yaml

from fine_tune_assets.core.files import open_private_file
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.dataset_files.dataset_reader import Dataset
from fine_tune_assets.dataset_files.dataset_rows import DatasetCounts

IMPORT_FILE = "import.yaml"
REFUSED = "refused.csv"
REFUSED_COLUMNS = ("file", "row", "reason")


def import_record(dataset: Dataset, counts: DatasetCounts) -> str:
    """YAML: which bytes were imported, and what became of their rows."""
    files = [{"name": one.name, "sha256": fingerprint_file(one.path), "format": one.format} for one in dataset.files]
    return yaml.safe_dump({"files": files, "counts": counts.facts}, sort_keys=False, allow_unicode=True)


@contextmanager
def text_file(path: Path) -> Iterator[IO[str]]:
    """A new UTF-8 file that only this user can read."""
    with open_private_file(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        yield text
