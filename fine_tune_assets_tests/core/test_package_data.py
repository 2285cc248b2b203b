"""The package's data files are installed with it."""

import tomllib
from fnmatch import fnmatch

import pytest

from fine_tune_assets.core.paths import PACKAGE_DIR, PROJECT_DIR

PATTERNS = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
    "package-data"
]
NOTES = {"SOURCE.md", "FAKER_LICENSE.txt"}
DATA = sorted(
    str(path.relative_to(PACKAGE_DIR))
    for path in PACKAGE_DIR.rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc") and path.name not in NOTES
)


@pytest.mark.parametrize("name", DATA)
def test_every_data_file_is_installed_with_the_package(name: str) -> None:
    """Tests run in a checkout with all files; an installation without a word list would fail at its first report."""
    assert any(fnmatch(name, pattern.replace("**/", "")) for pattern in PATTERNS["fine_tune_assets"])
