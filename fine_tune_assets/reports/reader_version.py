"""Fingerprints everything that determines how files are read: code, parser versions and whether OCR is available."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from fine_tune_assets.core.fingerprints import combine, fingerprint_file
from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.reports.formats.document_formats import DOCUMENT_FORMATS
from fine_tune_assets.reports.ocr import find_ocr

PARSERS = tuple(sorted({"hl7", "pyyaml", *(parser for known in DOCUMENT_FORMATS for parser in known.parsers)}))
"""Distributions whose versions affect the extracted text."""
_DATES = PACKAGE_DIR / "quantities" / "metadata_dates.py"


@cache
def read_reader_version() -> str:
    """Return the fingerprint for this installation; computed once per process."""
    parsers = [f"{name} {version(name)}" for name in PARSERS]
    return fingerprint_rules((Path(__file__).parent, _DATES), parsers, find_ocr() is not None)


def fingerprint_rules(code: Iterable[Path], parsers: Iterable[str], has_ocr: bool) -> str:
    """Fingerprint the Python and text files in `code`, the parser versions and whether OCR is available."""
    files = [path for one in code for path in (sorted(one.rglob("*")) if one.is_dir() else [one])]
    rules = [fingerprint_file(path) for path in files if path.suffix in (".py", ".txt")]
    return combine([*rules, *parsers, f"ocr {has_ocr}"])
