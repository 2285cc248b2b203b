"""`fine-tune doctor` finds problems of a machine or an installation before a run fails."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.fingerprints import fingerprint_files
from fine_tune_assets.core.settings import PREFIX


def diagnose(*, fails: bool) -> dict[str, dict[str, str]]:
    """Finding by check. Also asserts that the exit status matches the findings."""
    done = CliRunner().invoke(main, ["doctor", "--json"])
    findings = {row["check"]: row for row in json.loads(done.stdout)}
    assert {row["state"] for row in findings.values()} <= {"ok", "warning", "error"}
    assert (done.exit_code == 1) == fails == any(row["state"] == "error" for row in findings.values()), done.output
    return findings


def errors(findings: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, row in findings.items() if row["state"] == "error"}


@pytest.mark.usefixtures("installation_dir")
def test_a_sound_installation_has_no_error() -> None:
    """A missing GPU or OCR program is a warning: nothing else depends on it."""
    findings = diagnose(fails=False)
    assert list(findings) == [
        "python", "settings", "data folder", "recipe", "product lines", "ledger", "keys", "file modes",
        "engines", "gpu", "ocr", "confinement",
        "services",
    ]  # fmt: skip
    printed = CliRunner().invoke(main, ["doctor"])
    assert printed.exit_code == 0
    assert all(name in printed.stdout for name in findings)


def test_a_missing_data_folder_is_an_error_and_is_not_created(
    installation_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped path would otherwise become a second, empty installation."""
    missing = installation_dir.with_name("mistyped")
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(missing))
    findings = diagnose(fails=True)
    assert errors(findings) == {"data folder"}
    assert str(missing) in findings["data folder"]["detail"]
    assert not missing.exists()


def test_a_check_changes_nothing(installation_dir: Path) -> None:
    (installation_dir / "ledger" / "ledger.db").unlink()
    before = fingerprint_files(installation_dir)
    diagnose(fails=False)
    assert fingerprint_files(installation_dir) == before


def test_folders_of_an_earlier_version_that_are_open_are_named(installation_dir: Path) -> None:
    """The umask protects new files only."""
    for folder in (installation_dir.parent / "dagster").iterdir():
        folder.chmod(0o700)
    assert diagnose(fails=False)["file modes"]["state"] == "ok"
    (installation_dir / "tables").mkdir()
    (installation_dir / "tables").chmod(0o755)
    found = diagnose(fails=False)["file modes"]
    assert found["state"] == "warning"
    assert str(installation_dir / "tables") in found["detail"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_read_is_an_error(installation_dir: Path, mode: int) -> None:
    """With these keys, others could reverse the pseudonyms or sign a release."""
    (installation_dir / "keys" / "subjects.key").chmod(mode)
    findings = diagnose(fails=True)
    assert errors(findings) == {"keys"}
    assert "subjects.key" in findings["keys"]["detail"]
    assert "chmod" in findings["keys"]["detail"]


def test_an_invalid_recipe_is_an_error(installation_dir: Path) -> None:
    (installation_dir / "recipe.yaml").write_text("name: broken\n")
    findings = diagnose(fails=True)
    assert errors(findings) == {"recipe"}
    assert "recipe.yaml" in findings["recipe"]["detail"]


def test_an_invalid_setting_is_an_error_and_ends_the_checks(
    installation_dir: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All other checks need valid settings."""
    monkeypatch.setenv(f"{PREFIX}GATEWAY_PORT", "many")
    findings = diagnose(fails=True)
    assert errors(findings) == {"settings"}
    assert list(findings) == ["python", "settings"]


@pytest.mark.usefixtures("installation_dir")
def test_a_base_model_that_is_not_imported_is_a_warning_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import is the first step before training a large model."""
    monkeypatch.setenv(f"{PREFIX}RECIPE", "llama3_8b_lora_80gb")
    finding = diagnose(fails=False)["recipe"]
    assert finding["state"] == "warning"
    assert "fine-tune models import" in finding["detail"]
