"""Keys of an installation: created once, private, and never silently replaced."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import KEY_BYTES, read_or_create_key, require_key


def test_a_key_is_created_once(tmp_path: Path) -> None:
    """Another key would move subjects to other splits."""
    first = read_or_create_key(tmp_path / "keys", "subjects")
    assert len(first) == KEY_BYTES
    assert read_or_create_key(tmp_path / "keys", "subjects") == first
    assert read_or_create_key(tmp_path / "keys", "ledger") != first


def test_key_and_folder_are_private(tmp_path: Path) -> None:
    """The keys allow finding subjects and reading corrections."""
    read_or_create_key(tmp_path / "keys", "subjects")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "subjects.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_readable_by_others_is_refused_with_the_repair_command(tmp_path: Path, mode: int) -> None:
    """A copy from a backup often has wider permissions."""
    read_or_create_key(tmp_path, "subjects")
    (tmp_path / "subjects.key").chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_or_create_key(tmp_path, "subjects")


@pytest.mark.parametrize("content", [b"", b"short", b"k" * 33])
def test_a_key_of_another_length_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    """Replacing it would make all corrections unreadable; it must be restored."""
    path = tmp_path / "ledger.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=rf"ledger\.key has {len(content)} bytes"):
        read_or_create_key(tmp_path, "ledger")
    assert path.read_bytes() == content


def test_concurrent_processes_get_the_same_key(tmp_path: Path) -> None:
    """Supervisor and gateway start together. One may get an error, but never another key."""

    def attempt(_: int) -> bytes | None:
        try:
            return read_or_create_key(tmp_path, "ledger")
        except SettingsError:
            return None

    with ThreadPoolExecutor(8) as pool:
        found = {key for key in pool.map(attempt, range(32)) if key is not None}
    assert found == {read_or_create_key(tmp_path, "ledger")}


def test_a_lost_key_is_refused_while_files_depend_on_it(tmp_path: Path) -> None:
    """A new key would work unnoticed, but every subject would count twice."""
    keys, reports = tmp_path / "keys", tmp_path / "tables" / "reports"
    require_key(keys, "subjects", reports)
    read_or_create_key(keys, "subjects")
    reports.mkdir(parents=True)
    require_key(keys, "subjects", reports)
    (reports / "2026-01.parquet").touch()
    require_key(keys, "subjects", reports)
    (keys / "subjects.key").unlink()
    with pytest.raises(SettingsError, match=r"subjects\.key is missing.*fine-tune materialize reports"):
        require_key(keys, "subjects", reports)
    (reports / "2026-01.parquet").unlink()
    require_key(keys, "subjects", reports)
