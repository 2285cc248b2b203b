"""A bare machine runs the tests that it can, and says what the others need."""

import subprocess
import sys
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets_tests.system_programs import CHROMIUM, TESSERACT, SystemProgram, require_program

ABSENT = SystemProgram("Absent", "absent", ("no-such-program",), ("/no/such/place/*",))


@pytest.fixture
def outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


@pytest.mark.usefixtures("outside_ci")
def test_a_test_without_its_program_is_skipped_and_names_the_package() -> None:
    """A newcomer's first `make test` would otherwise end with errors that name no remedy."""
    with pytest.raises(pytest.skip.Exception, match="apt-get install absent"):
        require_program(ABSENT)


def test_in_continuous_integration_a_missing_program_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipped there, a gate would never be tested again."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="absent"):
        require_program(ABSENT)


def test_a_program_is_found_under_its_other_names_and_in_its_newest_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chrome is as good as Chromium, and version 17 comes after 9."""
    for version in ("9", "17"):
        placed = tmp_path / version / "bin" / "server"
        placed.parent.mkdir(parents=True)
        placed.touch(mode=0o755)
    assert SystemProgram("Server", "server", (), (f"{tmp_path}/*/bin/server",)).find() == str(placed)
    chrome = tmp_path / "google-chrome"
    chrome.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert SystemProgram("Chromium", "chromium", CHROMIUM.commands).find() == str(chrome)


SKIPPING_TESTS = """
import pytest
from fine_tune_assets_tests.system_programs import CHROMIUM, TESSERACT, skip_without

@pytest.fixture(scope="module")
def browser():
    skip_without(CHROMIUM)

def test_first(browser): pass
def test_second(browser): pass
def test_scan(): skip_without(TESSERACT)
def test_other(): pytest.skip("for another reason")
"""


@pytest.mark.usefixtures("outside_ci")
def test_the_summary_counts_the_tests_of_each_missing_program(tmp_path: Path) -> None:
    """Otherwise nobody sees the reason of a skipped test."""
    (tmp_path / "conftest.py").write_text("from fine_tune_assets_tests.system_programs import pytest_terminal_summary")
    (tmp_path / "test_skipping.py").write_text(SKIPPING_TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "-n", "2", str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert "4 skipped" in done.stdout
    assert f"Chromium: 2 tests. To run them: apt-get install {CHROMIUM.package}" in done.stdout
    assert f"Tesseract: 1 tests. To run them: apt-get install {TESSERACT.package}" in done.stdout
    assert "PostgreSQL" not in done.stdout
