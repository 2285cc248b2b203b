"""The version of the rules by which files are read: other rules, other reports from the same files.

Owns what counts as a rule: this package's own code, how its metadata's dates are read, the libraries that parse, and whether a
scan can be read at all.
"""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from fine_tune_assets.core.fingerprints import combine, fingerprint_file
from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.reports.ocr import find_ocr

PARSERS = ("defusedxml", "hl7", "lxml", "pypdf", "pypdfium2", "python-docx", "pyyaml", "striprtf")
"""Distributions whose version decides what a file says."""
_DATES = PACKAGE_DIR / "quantities" / "metadata_dates.py"


@cache
def reader_version() -> str:
    """The version of the rules of this installation. Read once a process."""
    parsers = [f"{name} {version(name)}" for name in PARSERS]
    return version_of_rules((Path(__file__).parent, _DATES), parsers, find_ocr() is not None)


def version_of_rules(code: Iterable[Path], parsers: Iterable[str], has_ocr: bool) -> str:
    """Changes with the code and lists of these files and folders, the parsing libraries, and the presence of an OCR program."""
    files = [path for one in code for path in (sorted(one.rglob("*")) if one.is_dir() else [one])]
    rules = [fingerprint_file(path) for path in files if path.suffix in (".py", ".txt")]
    return combine([*rules, *parsers, f"ocr {has_ocr}"])
