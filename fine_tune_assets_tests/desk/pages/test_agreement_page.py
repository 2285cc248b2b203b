"""The page of agreement says what the gate says: the same figures, the same population, the same verdict."""

from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from click.testing import CliRunner

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s04_approved_examples.approved_examples import reviewer_agreement_meets_floor
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.desk.installation import drafts_of

Ward = Callable[..., Site]
FLOOR = {"reviewers": 2, "agreement_floor": 0.6, "minimum_pairs": 2}


def approve_all(site: Site) -> Any:
    """The approved examples of stage 4 for the current decisions."""
    drafts = table_from_rows(drafts_of(site.settings), DraftedExample.SCHEMA)
    rules = load_recipe(site.settings.recipe).review
    approved = approve_examples(drafts, list_decisions(site.ledger), {}, rules).approved
    write_table(site.settings.layout.table("approved_examples"), approved)
    return approved


def test_page_command_and_check_give_one_verdict(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Green here and closed there would send people looking for the fault in the wrong place."""
    site = ward(**FLOOR)
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(site.settings.data_dir))
    monkeypatch.setenv("FINE_TUNE_RECIPE", site.settings.recipe)
    for name in ("One", "Two"):
        site.add(name, "reviewer")
    site.add("Chief", "approver")
    one, two, chief = (site.signed_in(name) for name in ("One", "Two", "Chief"))
    said = []
    for draft in (None, *drafts_of(site.settings)[:2]):
        if draft is not None:
            one.approve(draft)
            two.approve(draft)
        check = reviewer_agreement_meets_floor(installation=Installation(), approved_examples=approve_all(site))
        why = str(check.metadata["reason"].value)  # type: ignore[union-attr]
        page = unescape(chief.get("/agreement").text)
        assert why in page
        assert ("The gate is open." in page) == check.passed  # type: ignore[union-attr]
        assert why in CliRunner().invoke(main, ["review", "agreement"]).output
        assert "at least 0.6 over at least 2 pairs" in page
        said.append(why)
    assert said[0] == "No example depends on a reviewer's decision."
    assert "1 more are needed" in said[1]
    assert "Kappa is undefined" in said[2]


def test_examples_of_experts_without_a_pair_keep_the_gate_closed_on_the_page_too(ward: Ward) -> None:
    """Under an older recipe, one reviewer approved the examples, so the agreement of two reviewers is unknown."""
    site = ward(reviewers=1, agreement_floor=None)
    site.add("One", "reviewer")
    site.add("Chief", "approver")
    site.signed_in("One").approve(drafts_of(site.settings)[0])
    approve_all(site)
    chief = site.signed_in("Chief")
    assert "The recipe sets no floor" in chief.get("/agreement").text
    path = site.settings.data_dir / "recipe.yaml"
    path.write_text(path.read_text().replace("agreement_floor: null", "agreement_floor: 0.61"))
    page = chief.get("/agreement").text
    assert "The gate is closed" in page
    assert "Set review.reviewers to 2" in page
