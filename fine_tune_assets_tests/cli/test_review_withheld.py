"""Reports marked for missed identifiers are withheld on the command line as on the desk: from lists, pages and exports."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fine_tune_assets.approval.review_actions import revoke
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.phi.missed_identifiers.marks import mark_missed_identifier
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets_tests.approval.submissions import submit
from fine_tune_assets_tests.cli.desk_users import add_user
from fine_tune_assets_tests.clinical_domain import VOCABULARY
from fine_tune_assets_tests.desk.installation import MISSED, add_copy, drafts_of, fill, scrub_again
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

ALL = 4


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FINE_TUNE_RECIPE", str(tmp_path / "recipe.yaml"))
    monkeypatch.delenv("FINE_TUNE_LEDGER_URL", raising=False)
    return Settings(data_dir=tmp_path)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    opened = fresh_ledger(settings)
    yield opened
    opened.close()


@pytest.fixture
def filled(settings: Settings, ledger: Ledger) -> Settings:
    """A queue with a report that contains a missed name, and its copy in another subject's report."""
    for name in ("Ann", "Ben"):
        add_user(ledger, name)
    own = fill(settings, ledger, count=ALL - 1)
    add_copy(own, ledger)
    return own


def call(*arguments: str, fails: bool = False) -> str:
    done = CliRunner().invoke(main, ["review", *arguments])
    assert (done.exit_code != 0) == fails, done.output
    return done.output


def mark(settings: Settings, ledger: Ledger, draft: dict[str, Any]) -> None:
    key = read_or_create_key(settings.layout.keys, KEY_NAME)
    mark_missed_identifier(
        ledger,
        key,
        settings.layout,
        VOCABULARY,
        report_id=draft["report_id"],
        kind="NAME",
        term=MISSED,
        marked_by="Reviewer One",
    )


def test_no_command_outputs_a_marked_report_or_its_copy(filled: Settings, ledger: Ledger) -> None:
    """The copy has the same text, so it is withheld too."""
    holding = [draft for draft in drafts_of(filled) if MISSED in draft["input"]]
    assert len({draft["subject_key"] for draft in holding}) == 2
    tasks, config, decisions = (filled.data_dir / name for name in ("tasks.json", "config.xml", "decisions.jsonl"))
    export = ("export-label-studio", "--output", str(tasks), "--config", str(config))
    for draft in holding:
        submit(ledger, draft, "Ann", output=f"Cough. Seen with {MISSED}.")
    assert "2 decisions written" in call("export", "--output", str(decisions))
    decision_lines = decisions.read_text()

    mark(filled, ledger, holding[0])
    assert f"{ALL - 2} tasks written" in call(*export)
    assert MISSED not in tasks.read_text()
    said = call("export", "--output", str(decisions))
    assert ("0 decisions written" in said, "2 decisions withheld" in said) == (True, True)
    assert decisions.read_text() == ""
    listed = call("list", "--state", "approved")
    assert "2 drafts withheld" in listed
    for draft in holding:
        example_id = draft["example_id"]
        assert example_id not in listed
        refused = call("show", example_id, fails=True)
        assert f"{example_id} is withheld" in refused
        assert MISSED not in refused
    back = [{**json.loads(line), "id": f"new {n}"} for n, line in enumerate(decision_lines.splitlines())]
    decisions.write_text("".join(f"{json.dumps(line)}\n" for line in back))
    assert call("import", str(decisions), fails=True).count("is withheld") == 2

    scrub_again(filled, ledger, MISSED)
    assert f"{ALL} tasks written" in call(*export)
    # Text that a reviewer typed is not scrubbed, so it is withheld.
    assert "2 decisions withheld" in call("export", "--output", str(decisions))


def test_decisions_round_trip_with_any_line_separator_in_their_outputs(filled: Settings, ledger: Ledger) -> None:
    """Text copied from a PDF may contain U+2028, which Python's splitlines treats as a line end."""
    draft = next(draft for draft in drafts_of(filled) if MISSED not in draft["input"])
    decisions = filled.data_dir / "decisions.jsonl"
    submit(ledger, draft, "Ann", output="Cough.\u2028No fever.\x85Rest.\x0bFluids.")
    call("export", "--output", str(decisions))
    made, rules = json.loads(decisions.read_text(encoding="utf-8"))["id"], load_recipe(filled.recipe).review
    revoke(ledger, made, by="Ann", reason="to propose the same text", rules=rules, now=datetime.now(UTC))
    (line,) = decisions.read_text(encoding="utf-8").rstrip("\n").split("\n")
    text = json.dumps({**json.loads(line), "id": "new", "reviewer": "Ben"}, ensure_ascii=False)
    decisions.write_text(text + "\n", encoding="utf-8")
    assert "1 proposed" in call("import", str(decisions))
