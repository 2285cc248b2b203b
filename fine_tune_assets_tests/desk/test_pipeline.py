"""The pipeline strip: eight steps with figures, states, times and links, by role."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from fine_tune_assets.core.permissions import ROLES
from fine_tune_assets.core.progress import RunningStep
from fine_tune_assets.core.stages import STAGES
from fine_tune_assets.desk.model_summary import ModelSummary, ProductionModel, VerdictSummary
from fine_tune_assets.desk.pipeline import GATE_CLOSED, STEP_BY_STAGE, PipelineFacts, PipelineStep, build_pipeline
from fine_tune_assets.desk.request_context import is_allowed
from fine_tune_assets.desk.routes import ROUTES
from fine_tune_assets.ledger.record_counts import LedgerCounts
from fine_tune_assets_tests.desk.stage_facts import NOW, facts

NO_MODELS = ModelSummary(None, None, None)
HOLD = VerdictSummary("v1", "hold", NOW, ("It may have lost arithmetic.",), (), True, None)


def build(found: PipelineFacts, models: ModelSummary | None = NO_MODELS, *roles: str) -> dict[str, PipelineStep]:
    return {step.name: step for step in build_pipeline(found, models, roles or ("operator",), NOW)}


def test_the_steps_are_in_the_order_of_the_stages() -> None:
    assert list(build(facts())) == list(dict.fromkeys(STEP_BY_STAGE[stage] for stage in STAGES))


def test_an_empty_installation_has_only_empty_steps() -> None:
    assert {step.state for step in build(facts()).values()} == {"empty"}


@pytest.mark.parametrize(
    ("step", "found", "figure", "note", "state"),
    [
        ("reports", {"reports": 1343}, "1,343", "", "done"),
        ("reports", {"reports": 3, "unreadable_reports": 1}, "3", "1 unreadable", "waiting"),
        ("scrubbed", {"scrubbed_reports": 339, "withheld": 4}, "339", "4 withheld", "waiting"),
        ("scrubbed", {"scrubbed_reports": 339}, "339", "", "done"),
        ("unique", {"unique_reports": 330, "duplicate_reports": 1}, "330", "1 duplicate", "done"),
        ("examples", {"approved_examples": 313}, "313", "", "done"),
        ("training", {"adapters": 2}, "2 adapters", "", "done"),
    ],
)
def test_a_step_shows_what_was_made_and_what_waits(
    step: str, found: dict[str, int], figure: str, note: str, state: str
) -> None:
    shown = build(facts(**found))[step]
    assert (shown.figure, shown.note, shown.state) == (figure, note, state)


def test_drafts_that_wait_are_shown_before_the_first_approval() -> None:
    shown = build(facts(LedgerCounts(8, 0, 0, 0, 0, None)))["examples"]
    assert (shown.figure, shown.note, shown.state) == ("0", "8 to review", "waiting")


def test_corrections_say_how_many_are_new() -> None:
    shown = build(facts(LedgerCounts(0, 0, 0, 5, 1, NOW)))["corrections"]
    assert (shown.figure, shown.note, shown.changed_at) == ("5", "1 new", NOW)


@pytest.mark.parametrize("stage", STAGES)
def test_a_running_step_is_shown_as_running_also_before_it_made_anything(stage: str) -> None:
    running = RunningStep(stage, ("an_asset",), None, started_at=0.0)
    states = {name: step.state for name, step in build(facts(running=(running,))).items()}
    assert {name for name, state in states.items() if state == "running"} == {STEP_BY_STAGE[stage]}


def test_reviewers_learn_that_there_is_a_verdict_but_not_which() -> None:
    """They rate answers blindly."""
    models = ModelSummary(None, None, HOLD)
    assert build(facts(), models)["verdict"].figure == "Hold"
    assert build(facts(), models)["verdict"].state == "waiting"
    shown = build(facts(), models, "reviewer")["verdict"]
    assert (shown.figure, shown.note, shown.state, shown.path) == ("Recorded", "", "done", "")


@pytest.mark.parametrize(
    ("since", "is_running", "note"),
    [
        (NOW, True, "since 12:00 UTC"),
        (NOW - timedelta(days=20), True, "since 8 Nov"),
        (NOW, False, "starting"),
    ],
)
def test_the_production_model_says_since_when_it_answers(since: datetime, is_running: bool, note: str) -> None:
    live = ProductionModel("r1", "a1", "local", since, is_running, None)
    shown = build(facts(), ModelSummary(live, None, None))["live"]
    assert (shown.figure, shown.note, shown.state) == ("r1", note, "done")


def test_a_role_that_may_see_no_model_sees_no_step_about_one() -> None:
    assert not {"verdict", "live"} & set(build(facts(), None, "ingest"))


@pytest.mark.parametrize("role", ROLES)
def test_every_link_leads_to_a_page_that_the_role_may_open(role: str) -> None:
    models = ModelSummary(None, None, HOLD)
    for step in build(facts(reports=1), models, role).values():
        if step.path.startswith("/dagster/"):
            assert role in {"approver", "operator", "auditor"}
        elif step.path:
            assert any(is_allowed(route.access, [role]) for route in ROUTES if _is_path_of(route.path, step.path)), step


def _is_path_of(route: str, path: str) -> bool:
    pairs: Any = zip(route.split("/"), path.split("/"), strict=False)
    return len(route.split("/")) == len(path.split("/")) and all(a == b or a.startswith("{") for a, b in pairs)


def test_steps_of_a_further_line_link_to_its_own_assets() -> None:
    """The Dagster UI is shared: without the line's name, the link would lead to the main line's asset."""
    steps = build_pipeline(facts(reports=3, adapters=1), NO_MODELS, ["auditor"], NOW, line="law")
    paths = {step.name: step.path for step in steps}
    assert (paths["reports"], paths["training"]) == ("/dagster/assets/law/reports", "/dagster/assets/law/adapters")
    assert paths["verdict"] == "/verdicts"


@pytest.mark.parametrize(
    ("stage", "made", "waiting"),
    [
        ("s05_instruction_sets", {}, ["training", "verdict", "live"]),
        ("s05_instruction_sets", {"adapters": 1}, ["training", "verdict", "live"]),
        ("s04_approved_examples", {"approved_examples": 3}, ["examples", "training", "verdict", "live"]),
        ("s04_approved_examples", {"approved_examples": 3, "adapters": 1}, ["examples", "verdict", "live"]),
        ("s07_judge_scores", {}, ["live"]),
        ("s09_served_models", {}, []),
        ("recipe", {}, []),
    ],
)
def test_the_steps_behind_a_closed_gate_wait_for_it(stage: str, made: dict[str, int], waiting: list[str]) -> None:
    """A reader of "Nothing yet" waits for a training that cannot start."""
    steps = build_pipeline(facts(**made), NO_MODELS, ["reviewer"], NOW, closed_stages=[stage])
    assert [step.name for step in steps if step.state == "waiting"] == waiting
    assert all(step.note == GATE_CLOSED for step in steps if step.name in waiting)


def test_a_step_that_runs_does_not_wait() -> None:
    """A run that began before the gate closed."""
    running = (RunningStep("s06_adapters", ("adapters",), None, started_at=0.0),)
    found = facts(running=running)
    steps = build_pipeline(found, NO_MODELS, ["reviewer"], NOW, closed_stages=["s05_instruction_sets"])
    assert {step.name: step.state for step in steps}["training"] == "running"
