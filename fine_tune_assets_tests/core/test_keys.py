"""Keys of an installation: made once, read by their user only, never replaced silently."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import KEY_BYTES, read_or_create_key, require_key


def test_a_key_is_made_once_and_stays_the_same(tmp_path: Path) -> None:
    """Another key would move every patient to another split."""
    first = read_or_create_key(tmp_path / "keys", "patients")
    assert len(first) == KEY_BYTES
    assert read_or_create_key(tmp_path / "keys", "patients") == first
    assert read_or_create_key(tmp_path / "keys", "ledger") != first


def test_key_and_folder_are_for_their_user_only(tmp_path: Path) -> None:
    """Whoever has the key can find patients and read corrections."""
    read_or_create_key(tmp_path / "keys", "patients")
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "patients.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused_with_the_command_that_repairs_it(tmp_path: Path, mode: int) -> None:
    """A copy from a backup often comes with wider permissions."""
    read_or_create_key(tmp_path, "patients")
    (tmp_path / "patients.key").chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_or_create_key(tmp_path, "patients")


@pytest.mark.parametrize("content", [b"", b"short", b"k" * 33])
def test_a_key_of_another_length_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """Replacing it would lose every correction; a person has to restore it."""
    path = tmp_path / "ledger.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=f"holds {len(content)} bytes"):
        read_or_create_key(tmp_path, "ledger")
    assert path.read_bytes() == content


def test_two_that_come_at_once_never_get_two_keys(tmp_path: Path) -> None:
    """Supervisor and gateway start together. One may be refused for coming between, none gets a key of its own."""

    def attempt(_: int) -> bytes | None:
        try:
            return read_or_create_key(tmp_path, "ledger")
        except SettingsError:
            return None

    with ThreadPoolExecutor(8) as pool:
        found = {key for key in pool.map(attempt, range(32)) if key is not None}
    assert found == {read_or_create_key(tmp_path, "ledger")}


def test_a_lost_key_is_refused_while_there_are_files_made_with_it(tmp_path: Path) -> None:
    """Nobody notices a new one: it works, and every patient counts as two."""
    keys, reports = tmp_path / "keys", tmp_path / "tables" / "reports"
    require_key(keys, "patients", reports)
    read_or_create_key(keys, "patients")
    reports.mkdir(parents=True)
    require_key(keys, "patients", reports)
    (reports / "2026-01.parquet").touch()
    require_key(keys, "patients", reports)
    (keys / "patients.key").unlink()
    with pytest.raises(SettingsError, match=r"patients\.key is missing.*Restore the key from the backup"):
        require_key(keys, "patients", reports)
    (reports / "2026-01.parquet").unlink()
    require_key(keys, "patients", reports)
