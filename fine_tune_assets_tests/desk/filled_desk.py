"""Fills a desk's installation so that every list has entries and every page of one record has long content."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fine_tune_assets.core.files import write_table, write_text
from fine_tune_assets.core.fingerprints import fingerprint_text, short
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.corrections.quarantine_rules import QuarantineSignals, quarantine_corrections
from fine_tune_assets.ledger.audit.request_log import RequestEntry, record_requests
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.serving.release_records import record_release
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.lineage.training_runs import record_training_run
from fine_tune_assets.recipes.schema import CorrectionSettings
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import iter_records, table_from_records, table_from_rows
from fine_tune_assets.tables.report_rows import UnreadableReport
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.desk.installation import BATCH, drafts_of
from fine_tune_assets_tests.desk.judged_drafts import SET, judge_the_drafts
from fine_tune_assets_tests.desk.labelled_misses import write_misses
from fine_tune_assets_tests.desk.verdict_documents import DOCUMENT, FIGURE, FIGURES, KEPT, SHARE, evidence
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict, record_decision
from fine_tune_assets_tests.lineage.stored_data import store

EVERY_ROLE = ("user", "ingest", "reviewer", "approver", "operator", "auditor")
WHO = "Professor Maximiliane von Hohenlohe-Bartenstein"
BASE = fingerprint_text("base model")
TRAININGS, REFUSED, USERS, ABILITIES = 14, 40, 40, 24
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
TEXTS = {"instruction": "Which dose?", "input": "", "answer": "Take 40 mg."}


def fill_desk(site: Site) -> list[str]:
    """`site` has a queue with two reviewers per draft. Returns the paths of pages that `WHO`, with every role, can open."""
    store(site.settings.layout, "base_models", [{"name": "SmolLM2-135M-Instruct", "fingerprint": BASE}])
    site.add(WHO, *EVERY_ROLE)
    _add_people(site.ledger)
    drafts = drafts_of(site.settings)
    _disagree(site, drafts[:2])
    judge_the_drafts(site.settings, site.ledger, {d["example_id"]: _approve(site.ledger, d) for d in drafts[1:]})
    for number in range(REFUSED):
        record_verdict(site.ledger, make_verdict("refuse", adapter_id=fingerprint_text(f"refused {number}")))
    verdicts = [_train(site, number) for number in range(TRAININGS)]
    correction = _quarantine(site)
    _refuse_files(site.settings)
    write_misses(site.settings, 12)
    first, second = (draft["example_id"] for draft in drafts[:2])
    return [
        "/verdicts", f"/verdicts/{verdicts[-1]}", "/audit", "/users", "/account", "/agreement", "/impact", "/intake",
        f"/intake/{BATCH}", "/disagreements", f"/disagreements/{first}", "/quarantine", f"/quarantine/{correction}",
        "/spot-checks", "/spot-checks/next", "/subjects", "/misses", f"/items/{second}/history",
        "/docs/reference/desk-components.md",
    ]  # fmt: skip


def _add_people(ledger: Ledger) -> None:
    for number in range(USERS):
        roles = EVERY_ROLE if number % 5 == 0 else ["reviewer"]
        create_user(ledger, f"Reviewer {number}", roles, password=None, oidc_identity=None, now=NOW, can_use_link=True)


def _approve(ledger: Ledger, draft: dict[str, Any]) -> list[str]:
    facts = {name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")}
    return [record_decision(ledger, reviewer=f"Expert {n}", **facts).decision_id for n in range(2)]


def _disagree(site: Site, drafts: Sequence[dict[str, Any]]) -> None:
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
    one, two = site.signed_in("Reviewer One"), site.signed_in("Reviewer Two")
    for draft in drafts:
        one.approve(draft, "Cough and fever for 9 days.")
        two.reject(draft)


def _train(site: Site, number: int) -> str:
    """A set, a training on it, its verdict, and a release with answers and corrections. Returns the id of the verdict."""
    layout, found = site.settings.layout, fingerprint_text(f"set {number}")
    folder, adapter = layout.instruction_sets / short(found), fingerprint_text(f"adapter {number}")
    shutil.copytree(layout.instruction_sets / short(SET), folder)
    write_text(folder / "manifest.json", json.dumps({"fingerprint": found, "facts": {}}))
    record_training_run(layout.adapters, adapter, found, ())
    ability = SHARE | KEPT | {"family": "abilities"}
    abilities = [ability | {"name": f"general_ability_{other}"} for other in range(ABILITIES)]
    safety = FIGURE | {"family": "safety", "name": "canaries_16", "reason": "0 of 4 canaries came back word for word."}
    verdict = make_verdict(
        "promote",
        adapter_id=adapter,
        base_fingerprint=BASE,
        instruction_set_fingerprint=found,
        incumbent=BASE,
        evidence=evidence({**DOCUMENT, "metrics": [FIGURES[0], *abilities, safety, *FIGURES[3:]]}),
        reasons=("Better than the incumbent by 2.20 points (95 % interval 1.40 to 2.99).",),
    )
    record_verdict(site.ledger, verdict)
    release = short(fingerprint_text(f"release {number}"))
    record_release(site.ledger, make_release(verdict, release))
    answered = RequestEntry(NOW, "k", "/v1/completions", 200, None, release, 1, 1, 1, None, None)
    record_requests(site.ledger, [answered] * 9, {}, NOW)
    for kind in ("omission", "hallucination", "wrong_number", "identifier_shown"):
        _correct(site.ledger, release, kind)
    return verdict.verdict_id


def _correct(ledger: Ledger, release: str, kind: str) -> str:
    return record_correction(
        ledger, b"k" * 32, release_id=release, author="ward 3", idempotency_key=f"{release} {kind}", error_kind=kind,
        seconds_spent=180, corrected_answer="Take 400 mg.", **TEXTS,
    )  # fmt: skip


def _quarantine(site: Site) -> str:
    release, layout = short(fingerprint_text("release 0")), site.settings.layout
    correction_id = _correct(site.ledger, release, "negation")
    row = {"correction_id": correction_id, "release_id": release, "author": "ward 3", "subject_key": "p", **TEXTS}
    rows = table_from_rows([row | {"output": "Take 400 mg.", "received_at": NOW}], ScrubbedCorrection.SCHEMA)
    (correction,) = iter_records(ScrubbedCorrection, rows)
    contradicted = drafts_of(site.settings)[0]["example_id"]
    signals = QuarantineSignals({correction_id: 0.9}, {correction_id: [contradicted]}, {correction_id: 12})
    write_table(layout.table("scrubbed_corrections"), table_from_records(ScrubbedCorrection, [correction]))
    write_table(
        layout.table("quarantined_corrections"), quarantine_corrections([correction], signals, CorrectionSettings(), [])
    )
    return correction_id


def _refuse_files(settings: Settings) -> None:
    names = [f"exports/2026/ward-of-internal-medicine/visits-of-the-week-{number}.csv" for number in range(60)]
    row = {"batch": BATCH, "record": 2, "reason": "no_subject", "detail": "Name the patient.", "size_bytes": 7}
    rows = [row | {"origin_file": name} for name in names]
    write_table(settings.layout.table("unreadable_reports", BATCH), table_from_rows(rows, UnreadableReport.SCHEMA))
