"""A made-up installation of the size that the desk is measured with: queue, decisions, sets, trainings, grades, audit log.

The tables are those that stages write; the notes are the desk's tests', of realistic length.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from fine_tune_assets.core.files import write_table, write_text
from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.judged_answers import JudgedAnswers
from fine_tune_assets.judging.judges.spot_check_sample import JudgedAnswer
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_tables import audit_entries, decisions, spot_checks
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets.ledger.serving.release_records import record_release
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.lineage.set_history import SetCache
from fine_tune_assets.lineage.training_runs import record_training_run
from fine_tune_assets.tables.approval_rows import ApprovedExample
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.dedup_rows import DuplicateReport
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.report_rows import UnreadableReport
from fine_tune_assets_tests.desk.installation import BATCH, drafts_of, fill, refresh_queue, write_recipe
from fine_tune_assets_tests.desk.judged_drafts import judge_the_drafts
from fine_tune_assets_tests.desk.verdict_documents import DOCUMENT, FIGURE, evidence
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict

ROLES = ("user", "ingest", "reviewer", "approver", "operator", "auditor")
PASSWORD = "seven grey herons at dusk"
EXAMPLES_OF_A_PATIENT = 5
SPOT_CHECKS = 300
"""Answers per rater."""
RATERS = 10
HOLDS = 200


def make_installation(
    settings: Settings, ledger: Ledger, *, items: int, sets: int, log_lines: int, people: int
) -> Settings:
    """Everything that the pages read; the settings with the recipe that goes with it."""
    made = fill(settings, ledger, count=items, review={"reviewers": 2}, filler=12)
    write_recipe(made.data_dir, {"reviewers": 2}, {"spot_checks": SPOT_CHECKS})
    _give_patients(made)
    rows = drafts_of(made)
    _decide(ledger, rows)
    refresh_queue(made, ledger)
    _write_tables(made, rows)
    for number in range(sets):
        _train_on_a_set(made, ledger, rows, number)
    _judge(made, ledger)
    _hold(ledger)
    _add_people(ledger, people)
    _lengthen_log(ledger, log_lines)
    return made


def patient_of(number: int) -> str:
    return fingerprint_text(f"patient {number // EXAMPLES_OF_A_PATIENT}")


def _give_patients(settings: Settings) -> None:
    """Five reports to each patient."""
    layout = settings.layout
    for name, partition in (("reports", BATCH), ("scrubbed_reports", BATCH), ("drafted_examples", None)):
        path = layout.table(name, partition)
        table = pq.read_table(path, partitioning=None)
        keys = [patient_of(int(report.rpartition("/")[2])) for report in table["report_id"].to_pylist()]
        place = table.schema.get_field_index("subject_key")
        write_table(path, table.set_column(place, table.schema.field(place), pa.array(keys, pa.string())))


def _decide(ledger: Ledger, rows: list[dict[str, Any]]) -> None:
    """Two words on two of three examples; every second pair disagrees."""
    said = []
    for number, row in enumerate(rows):
        if number % 3 == 2:
            continue
        for person in ("First", "Second"):
            is_rejected = person == "Second" and number % 6 == 0
            said.append(_decision(row, f"{person} {number % 7}", "reject" if is_rejected else "approve", len(said)))
    with ledger.begin() as connection:
        for row in said:  # one by one, since each row is sealed
            connection.execute(decisions.insert().values(row))


def _decision(row: dict[str, Any], reviewer: str, decision: str, number: int) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("example_id", "fingerprint", "report_id", "task")},
        "decision_id": decision_id_of(number),
        "decision": decision,
        "output": None,
        "reviewer": reviewer,
        "reason": "",
        "reason_code": "unsupported" if decision == "reject" else "",
        "decided_at": datetime.now(UTC),
        "role": "review",
        "approved_fingerprint": None if decision == "reject" else row["fingerprint"],
        "meaning": "",
    }


def decision_id_of(number: int) -> str:
    return f"{number:032x}"


def _write_tables(settings: Settings, rows: list[dict[str, Any]]) -> None:
    """What was approved; a report in ten that was dropped for another patient's; two hundred files that were not read."""
    layout = settings.layout
    approved = [{**row, "approved_by": "First 1, Second 1", "approval_kind": "expert"} for row in rows]
    write_table(layout.table("approved_examples"), _filled("approved_examples", ApprovedExample.SCHEMA, approved))
    reports = [row["report_id"] for row in rows]
    dropped = [
        {"dropped_id": a, "kept_id": b, "kind": "near"} for a, b in zip(reports[::10], reports[7::10], strict=False)
    ]
    write_table(layout.table("duplicate_reports"), _filled("duplicate_reports", DuplicateReport.SCHEMA, dropped))
    refused = [{"batch": BATCH, "origin_file": f"{number}.csv", "reason": "empty"} for number in range(200)]
    write_table(
        layout.table("unreadable_reports", BATCH), _filled("unreadable_reports", UnreadableReport.SCHEMA, refused)
    )


def _filled(name: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    """Values that a row does not say are filled by type."""
    assert name in TABLES
    return table_from_rows(
        [{field.name: row.get(field.name, _plain(field)) for field in schema} for row in rows], schema
    )


def _plain(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_list(field.type):
        return []
    if pa.types.is_string(field.type):
        return "plain"
    return False if pa.types.is_boolean(field.type) else 0


def _train_on_a_set(settings: Settings, ledger: Ledger, rows: list[dict[str, Any]], number: int) -> None:
    """A set of every example, the adapter that was trained on it, its verdict and its release."""
    fingerprint, adapter = fingerprint_text(f"set {number}"), fingerprint_text(f"adapter {number}")
    folder = settings.layout.instruction_sets / short(fingerprint)
    write_table(folder / "provenance.parquet", pa.Table.from_pylist([_provenance(row, number) for row in rows]))
    write_text(folder / "manifest.json", json.dumps({"fingerprint": fingerprint, "facts": {}}))
    record_training_run(settings.layout.adapters, adapter, fingerprint, [row["example_id"] for row in rows[:20]])
    verdict = make_verdict("promote", adapter_id=adapter, instruction_set_fingerprint=fingerprint)
    record_verdict(ledger, verdict)
    record_release(ledger, replace(make_release(verdict, f"release-{number}"), adapter_id=adapter))


def _provenance(row: dict[str, Any], number: int) -> dict[str, Any]:
    named = ("example_id", "report_id", "subject_key", "task", "source", "fingerprint")
    return {
        **{name: row[name] for name in named},
        "split": ("train", "train", "train", "validation", "test")[int(row["subject_key"][:4], 16) % 5],
        "report_fingerprint": fingerprint_text(row["report_id"]),
        "approved_by": "First 1, Second 1",
        "approval_kind": "expert",
        "decision_ids": [fingerprint_text(f"{row['example_id']} {person}")[:32] for person in range(2)],
        "scrubber_version": f"version {number}",
    }


def _judge(settings: Settings, ledger: Ledger) -> None:
    """Two models' answers to every second example, those that two people approved, their grades, and ten experts who rated
    the whole sample."""
    judge_the_drafts(
        settings, ledger, _approved_twice(ledger), padding=" Nothing else was found in that part of the visit." * 10
    )
    known_sets = SetCache(settings.layout.instruction_sets)
    answers = JudgedAnswers(settings.layout, ledger, known_sets)
    judged = answers.latest()
    assert judged is not None
    rows = [
        {**_rating(answer, f"Rater {number}"), "rater_key": f"rater {number}"}
        for number in range(RATERS)
        for answer in answers.select_sample(judged, SPOT_CHECKS, "0")
    ]
    with ledger.begin() as connection:
        connection.execute(spot_checks.insert(), rows)


def _approved_twice(ledger: Ledger) -> dict[str, list[str]]:
    """Example → the two decisions that approved it."""
    query = sa.select(decisions.c.example_id, decisions.c.decision_id).where(decisions.c.decision == "approve")
    found: dict[str, list[str]] = {}
    with ledger.read() as connection:
        for example_id, decision_id in connection.execute(query.order_by(decisions.c.sequence)):
            found.setdefault(example_id, []).append(decision_id)
    return {example_id: ids for example_id, ids in found.items() if len(ids) == 2}


def _rating(answer: JudgedAnswer, rater: str) -> dict[str, Any]:
    named = ("example_id", "task", "model_fingerprint", "answer_fingerprint", "subject_key")
    said = {"rater": rater, "score": 1 + int(answer.answer_id[0], 16) % 10, "criteria": None, "error_kind": "none"}
    return {**{name: getattr(answer, name) for name in named}, **said, "rated_at": datetime.now(UTC)}


def _hold(ledger: Ledger) -> None:
    """Verdicts with 60 figures each, to be signed."""
    document = evidence({**DOCUMENT, "figures": [FIGURE | {"name": f"figure {number}"} for number in range(60)]})
    for number in range(HOLDS):
        record_verdict(ledger, make_verdict("hold", adapter_id=held_adapter(number), evidence=document))


def held_adapter(number: int) -> str:
    return fingerprint_text(f"adapter on hold {number}")


def _lengthen_log(ledger: Ledger, count: int) -> None:
    """All at once: one by one they would take longer than what is measured."""
    newest, at, lines = audit.list_newest_entries(ledger, None, 1)[0], datetime.now(UTC), []
    position, previous = newest.position, newest.entry_hash
    for number in range(count):
        position += 1
        said = {"position": position, "at": at, "actor": "Reviewer", "action": "looked", "resource": f"line {number}"}
        entry_hash = audit.hash_entry(ledger.key, *said.values(), previous)  # type: ignore[arg-type]
        lines.append({**said, "previous_hash": previous, "entry_hash": entry_hash})
        previous = entry_hash
    with ledger.begin() as connection:
        connection.execute(audit_entries.insert(), lines)


def _add_people(ledger: Ledger, people: int) -> None:
    now = datetime.now(UTC)
    create_user(ledger, "Reviewer", list(ROLES), password=PASSWORD, oidc_identity=None, now=now)
    create_user(ledger, "Changer", ["reviewer"], password=PASSWORD, oidc_identity=None, now=now)
    create_user(ledger, "Chief", ["approver"], password=PASSWORD, oidc_identity=None, now=now)
    for number in range(people):
        create_user(
            ledger,
            f"Person {number}",
            ["reviewer"],
            password=None,
            oidc_identity=f"https://id.example|{number}",
            now=now,
        )
