"""What counts as a change of the code that a code server has loaded."""

from pathlib import Path

import pytest

from fine_tune_assets.defs.platform import code_state
from fine_tune_assets.defs.platform.code_state import fingerprint_code


@pytest.mark.parametrize("name", ["rules.txt", "words.csv", "part/new.py"])
def test_any_file_of_the_code_counts_and_what_is_compiled_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Lists of words decide versions too."""
    monkeypatch.setattr(code_state, "_CODE", tmp_path)
    path = tmp_path / name
    before = fingerprint_code()
    path.parent.mkdir(exist_ok=True)
    path.write_text("a")
    after = fingerprint_code()
    assert after != before
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_text("b")
    assert fingerprint_code() == after


def test_a_library_or_a_program_that_was_installed_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write tables with the new version. A server that still expects the old version would request them indefinitely."""
    monkeypatch.setattr(code_state, "_CODE", tmp_path / "none")
    seen = [fingerprint_code()]
    monkeypatch.setattr(code_state.shutil, "which", lambda _: "/usr/bin/another")
    seen.append(fingerprint_code())
    monkeypatch.setattr(code_state.sysconfig, "get_paths", lambda: {"purelib": str(tmp_path)})
    seen.append(fingerprint_code())
    (tmp_path / "library-2.0.dist-info").mkdir()
    seen.append(fingerprint_code())
    assert len(set(seen)) == 4


def test_unreadable_code_counts_as_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reloading once too often costs seconds; serving old code costs more."""

    class Vanishing:
        def rglob(self, _: str) -> None:
            raise FileNotFoundError

    before = fingerprint_code()
    monkeypatch.setattr(code_state, "_CODE", Vanishing())
    assert fingerprint_code() != before
