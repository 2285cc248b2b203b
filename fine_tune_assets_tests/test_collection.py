"""Which files of tests are read at all."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from fine_tune_assets_tests.conftest import pytest_ignore_collect


@dataclass(frozen=True)
class Config:
    """What the hook asks for."""

    expression: str

    def getoption(self, name: str) -> str:
        assert name == "markexpr"
        return self.expression


@pytest.mark.parametrize(
    ("expression", "text", "is_ignored"),
    [
        ("slow and not long", "pytestmark = [pytest.mark.slow]", False),
        ("slow and not long", "def test_x(): ...", True),
        ("long and not gpu", "@pytest.mark.slow", True),
        ("not slow and not gpu", "def test_x(): ...", False),
        ("", "def test_x(): ...", False),
    ],
)
def test_only_files_without_a_wanted_test_are_not_read(
    tmp_path: Path, expression: str, text: str, is_ignored: bool
) -> None:
    """A file that is left out by mistake would never run."""
    file = tmp_path / "test_one.py"
    file.write_text(text, encoding="utf-8")
    assert bool(pytest_ignore_collect(file, Config(expression))) is is_ignored  # type: ignore[arg-type]
