"""Reading of one file, as the intake does it."""

import re
from pathlib import Path

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import BatchResult, read_batch
from fine_tune_assets.reports.fidelity import count_differences
from fine_tune_assets_tests.reports.sample_files import REPORT
from fine_tune_assets_tests.reports.shared_reader import shared_reader

SECRET = b"k" * 32
FILES = Path(__file__).parent / "files"


def read(folder: Path) -> BatchResult:
    reading = read_batch(folder, "b1", SECRET, ReadLimits(), reader=shared_reader(ReadLimits()))
    assert reading.file_counts.is_balanced
    return reading


def reasons(reading: BatchResult) -> list[tuple[str, int | None, str]]:
    return [(r["origin_file"], r["record"], r["reason"]) for r in reading.unreadable.to_pylist()]


def all_in_one_line(text: str) -> str:
    return " ".join(re.sub(r"[|:]", " ", text).split())


def check_signs(text: str) -> None:
    line = all_in_one_line(text)
    for sign in REPORT.signs:
        assert all_in_one_line(sign) in line
    assert count_differences(" ".join(sign for _, sign in REPORT.sections), text, is_complete=False) == {}
