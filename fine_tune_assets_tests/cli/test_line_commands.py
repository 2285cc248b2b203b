"""`fine-tune lines`, and the commands that work on several product lines."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import PREFIX, Settings, list_lines, load_settings, select_line
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.api_keys import create_key, list_keys
from fine_tune_assets.ledger.reviews.erasures import SubjectIds, list_erased_subjects, list_erasures, record_erasure

SUBJECT = "5" * 64
RECIPE = PROJECT_DIR / "fine_tune_assets" / "recipes" / "law_contracts.yaml"


def _run(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)], env={f"{PREFIX}LINE": ""})


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path / "d"))
    return load_settings()


def test_an_added_line_is_listed_with_its_recipe(settings: Settings) -> None:
    assert _run("lines", "add", "law", "--recipe", "law_contracts").exit_code == 0
    rows = json.loads(_run("lines", "list", "--json").stdout)
    assert [(row["line"], row["recipe"], row["problem"]) for row in rows] == [
        ("main", settings.recipe, ""),
        ("law", "law_contracts", ""),
    ]


def test_the_path_of_a_recipe_does_not_depend_on_the_folder_of_the_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service is started elsewhere."""
    monkeypatch.chdir(RECIPE.parent)
    assert _run("lines", "add", "law", "--recipe", RECIPE.name).exit_code == 0
    assert select_line(settings, "law").recipe == str(RECIPE)


def test_a_line_with_a_faulty_recipe_is_not_created(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "faulty.yaml").write_text("name: x\n", encoding="utf-8")
    assert _run("lines", "add", "law", "--recipe", tmp_path / "faulty.yaml").exit_code == 1
    assert list_lines(settings) == ()


def test_a_line_that_is_added_after_an_erasure_knows_it(settings: Settings) -> None:
    """With --reports-of it would otherwise read the erased subject again, from files that are shared with other subjects."""
    with closing(open_ledger(settings)) as ledger:
        record_erasure(ledger, subject_key=SUBJECT, by="Operator", reason="case 7", ids=SubjectIds())
    assert _run("lines", "add", "law", "--recipe", "law_contracts", "--reports-of", "main").exit_code == 0
    with closing(open_ledger(select_line(settings, "law"))) as ledger:
        assert list_erased_subjects(ledger) == {SUBJECT}
        assert [one.is_finished for one in list_erasures(ledger)] == [True]


def test_a_key_of_another_line_is_accepted_rotated_and_revoked_in_both(settings: Settings) -> None:
    _run("lines", "add", "law", "--recipe", "law_contracts")
    with closing(open_ledger(settings)) as ledger:
        made = create_key(ledger, "application", ["chat"])
    assert _run("--line", "law", "keys", "accept", made.key_id).exit_code == 0
    assert _run("--line", "law", "keys", "accept", "0" * 12).exit_code == 1
    rotated = _run("keys", "rotate", made.key_id)
    assert rotated.exit_code == 0
    assert rotated.stdout.strip().startswith(f"fta_{made.key_id}_")
    assert _run("keys", "revoke", made.key_id).exit_code == 0
    for line in ("", "law"):
        with closing(open_ledger(select_line(settings, line))) as ledger:
            (key,) = list_keys(ledger)
            assert key.revoked_at is not None
            actions = [entry.action for entry in audit.list_entries(ledger) if entry.resource == made.key_id]
            assert actions[1:] == ["rotated API key", "revoked API key"]


def test_a_line_that_can_t_be_opened_does_not_keep_a_key_from_being_revoked(settings: Settings) -> None:
    """And the new secret of a rotation is printed before other lines are opened."""
    with closing(open_ledger(settings)) as ledger:
        made = create_key(ledger, "application", ["chat"])
    broken = settings.layout.lines / "broken"
    broken.mkdir(parents=True)
    (broken / "line.yaml").write_text("port: 1\n", encoding="utf-8")
    rotated = _run("keys", "rotate", made.key_id)
    assert (rotated.exit_code, f"fta_{made.key_id}_" in rotated.stdout) == (0, True)
    revoked = _run("keys", "revoke", made.key_id)
    assert revoked.exit_code == 0
    assert "broken" in revoked.stderr


def test_services_that_all_lines_share_are_not_started_for_one(settings: Settings) -> None:
    _run("lines", "add", "law", "--recipe", "law_contracts")
    refused = _run("--line", "law", "up", "gateway")
    assert refused.exit_code == 1
    assert "without --line" in refused.stderr
    assert settings.line == ""
