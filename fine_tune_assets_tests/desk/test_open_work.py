"""What the home page shows by role: open tasks, alerts, what was left out, and the first steps of a new installation."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fine_tune_assets.desk.asset_failures import AssetFailure
from fine_tune_assets.desk.first_steps import list_first_steps
from fine_tune_assets.desk.model_summary import VerdictSummary
from fine_tune_assets.desk.open_work import (
    MAX_ITEMS_LINKED,
    Alert,
    WaitingWork,
    list_alerts,
    list_gate_alerts,
    list_left_out_rows,
    list_open_tasks,
)
from fine_tune_assets.ledger.record_counts import LedgerCounts
from fine_tune_assets.lineage.account import Account, Omission
from fine_tune_assets.lineage.account_reasons import REASONS
from fine_tune_assets.lineage.left_out import LeftOutCounts, describe_omissions, list_left_out
from fine_tune_assets.tables.training_rows import TooLongExamples
from fine_tune_assets_tests.desk.stage_facts import facts

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOLD = VerdictSummary("v1", "hold", NOW, (), (), True, None)
WORK = WaitingWork(8, 6, 4, 5, 2, 1, HOLD, 3, ["e1", "e2"])
NONE = WaitingWork(0, None, 0, 0, 0, 0, None, 0, [])


@pytest.mark.parametrize(
    ("role", "paths"),
    [
        ("reviewer", ["/items/e1", "/queue/next", "/proposals", "/spot-checks/next"]),
        ("approver", ["/proposals", "/disagreements/next", "/quarantine", "/verdicts/v1"]),
        ("operator", ["/intake"]),
        ("ingest", ["/intake"]),
        ("auditor", []),
        ("user", []),
    ],
)
def test_a_role_gets_only_its_own_tasks(role: str, paths: list[str]) -> None:
    assert [task.path for task in list_open_tasks(WORK, [role])] == paths


def test_nothing_waits_when_every_count_is_zero() -> None:
    assert list_open_tasks(NONE, ["reviewer", "approver", "operator"]) == []


@pytest.mark.parametrize("minutes", [6, None])
def test_only_reviews_have_an_estimate_of_the_time(minutes: int | None) -> None:
    tasks = list_open_tasks(replace(WORK, review_minutes=minutes), ["reviewer"])
    assert [task.minutes for task in tasks] == [None, minutes, None, None]


def alerts(role: str, *, drifted: tuple[str, ...] = (), **rows: int) -> list[Alert]:
    found = facts(LedgerCounts(0, 0, 26, 0, 0, None), **rows)
    return list_alerts(found, drifted, HOLD, [role])


@pytest.mark.parametrize(
    ("role", "paths"),
    [
        ("reviewer", ["/queue?state=trusted"]),
        ("approver", ["/verdicts/v1", "/dagster/assets/production_drift"]),
        ("operator", ["/verdicts/v1", "/dagster/assets/production_drift"]),
        ("ingest", []),
        ("auditor", ["/verdicts/v1", "/dagster/assets/production_drift"]),
    ],
)
def test_an_alert_goes_to_the_roles_that_can_act_on_it(role: str, paths: list[str]) -> None:
    found = alerts(role, drifted=("length",))
    assert [alert.path for alert in found] == paths
    assert all(alert.action for alert in found)


FOUND_GATE = AssetFailure(
    "instruction_sets", "final_texts_contain_no_identifiers", "/p", "Why.", "s05_instruction_sets"
)
SIZE_GATE = replace(FOUND_GATE, check="set_meets_minimum_size", reason="12 of 40 examples.")


@pytest.mark.parametrize("role", ["ingest", "reviewer", "approver", "operator", "auditor"])
def test_suspected_identifiers_alert_every_role_and_link_the_examples_for_reviewers(role: str) -> None:
    """Only reviewers may open an item; the others see why nothing is trained."""
    (alert,) = list_gate_alerts([FOUND_GATE], ["e1", "e2"], [role])
    assert alert.text.startswith("2 approved examples seem")
    assert alert.items == (("e1", "e2") if role == "reviewer" else ())


def test_the_links_to_suspected_examples_are_limited() -> None:
    """A pack that fits badly gives hundreds; the text still counts them all."""
    (alert,) = list_gate_alerts([], [f"e{number}" for number in range(300)], ["reviewer"])
    assert alert.text.startswith("300 ")
    assert len(alert.items) == MAX_ITEMS_LINKED


@pytest.mark.parametrize(("role", "names"), [("reviewer", 1), ("ingest", 1), ("operator", 0), ("auditor", 0)])
def test_a_closed_gate_is_named_to_roles_without_the_dagster_ui(role: str, names: int) -> None:
    """The others read it in the card about failed checks."""
    found = list_gate_alerts([SIZE_GATE], [], [role])
    assert [(alert.detail, SIZE_GATE.check in alert.text) for alert in found] == [("12 of 40 examples.", True)] * names


def test_without_a_problem_there_is_no_alert() -> None:
    assert list_alerts(facts(reports=3, withheld=0), (), None, ["reviewer", "approver", "operator"]) == []


def test_a_refusal_is_worse_than_a_hold() -> None:
    refused = replace(HOLD, decision="refuse")
    levels = [alert.level for verdict in (HOLD, refused) for alert in list_alerts(facts(), (), verdict, ["operator"])]
    assert levels == ["warn", "bad"]


def test_the_first_steps_are_marked_as_they_are_done() -> None:
    def done(**rows: int) -> list[bool]:
        return [step.is_done for step in list_first_steps(facts(**rows), "data/raw_reports", False, ["operator"])]

    assert done() == [False, False, False, False]
    assert done(reports=3) == [True, False, False, False]
    assert done(reports=3, approved_examples=2) == [True, False, True, False]


def test_the_first_steps_end_with_the_first_training() -> None:
    assert list_first_steps(facts(adapters=1), "data/raw_reports", True, ["operator"]) == []


@pytest.mark.parametrize(("role", "path"), [("operator", "/users"), ("ingest", "/docs/how-to/use-the-desk.md")])
def test_a_first_step_leads_to_a_page_that_the_role_may_open(role: str, path: str) -> None:
    assert list_first_steps(facts(), "data/raw_reports", False, [role])[1].path == path


@pytest.mark.parametrize(
    ("role", "paths"),
    [
        ("reviewer", ["", "", ""]),
        ("ingest", ["/intake", "", ""]),
        ("approver", ["/dagster/assets/reports", "/dagster/assets/training_plans", "/verdicts"]),
        ("operator", ["/intake", "/dagster/assets/training_plans", "/verdicts"]),
        ("auditor", ["/dagster/assets/reports", "/dagster/assets/training_plans", "/verdicts"]),
    ],
)
def test_every_role_reads_what_was_left_out_and_gets_links_to_its_own_pages(role: str, paths: list[str]) -> None:
    """The rows contain counts and settings only."""
    counts = LeftOutCounts(too_long=TooLongExamples(42, 147, 412), test_examples=9, untested=3)
    unreadable = Account({}, (Omission("b", REASONS["unreadable"], "empty", 2),))
    shown = list_left_out_rows([*describe_omissions(unreadable), *list_left_out(counts)], [role])
    assert [row.path for row in shown] == paths
    assert "`training.max_length: 412`" in shown[1].remedy


def test_rows_left_out_of_a_further_line_link_to_its_own_assets() -> None:
    undrafted = Account({}, (Omission("b", REASONS["not_used"], "", 1),))
    (row,) = list_left_out_rows(describe_omissions(undrafted), ["auditor"], "law")
    assert row.path == "/dagster/assets/law/drafted_examples"


def test_the_alert_about_drift_leads_to_the_assets_of_its_line() -> None:
    (alert,) = list_alerts(facts(), ("length",), None, ["auditor"], "law")
    assert alert.path == "/dagster/assets/law/production_drift"
