"""Every reason for which a report can be missing is in the summary of the command, on the first page and on the intake page."""

import io
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape

from rich.console import Console

from fine_tune_assets.cli.account_summary import account_json, print_account
from fine_tune_assets.core.files import write_table
from fine_tune_assets.ledger.ledger_tables import erasures, review_items
from fine_tune_assets.ledger.reviews.erasures import SubjectIds, record_erasure
from fine_tune_assets.ledger.reviews.review_items import sync_items
from fine_tune_assets.ledger.reviews.review_rows import NewItem
from fine_tune_assets.lineage.account_reasons import REASONS
from fine_tune_assets.lineage.set_history import write_excluded_examples
from fine_tune_assets.tables.asset_tables import RECORDS
from fine_tune_assets.tables.instruction_rows import ExcludedExample
from fine_tune_assets.tables.record_classes import table_from_records
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.lineage.omitted_rows import CASES, Case
from fine_tune_assets_tests.record_factory import made

PARTITIONED = {"reports", "unreadable_reports", "withheld_reports", "scrubbed_reports"}
LEAK = "near duplicate of e9 in test (0.9)"


def store(site: Site, case: Case) -> None:
    """The case as the steps would leave it: in Parquet files, in the ledger and next to the instruction sets."""
    layout = site.settings.layout
    for folder in (layout.tables, layout.instruction_sets, layout.raw_reports):
        shutil.rmtree(folder, ignore_errors=True)
    for name, rows in case.rows.items():
        records = [replace(made(RECORDS[name]), **row) for row in rows]
        path = layout.table(name, "b" if name in PARTITIONED else None)
        write_table(path, table_from_records(RECORDS[name], records))
    for batch in case.more.get("unread_files", ()):
        (layout.raw_reports / batch).mkdir(parents=True)
    with site.ledger.begin() as connection:
        for table in (erasures, review_items):
            connection.execute(table.delete())
    for subject in case.more.get("erased_subjects", ()):
        record_erasure(site.ledger, subject_key=subject, by="Ann", reason="asked", ids=SubjectIds())
    plain = {"fingerprint": "f", "report_id": "b/1", "subject_key": "s", "line": "l", "task": "t", "source": "c"}
    items = [
        NewItem(
            example_id=example_id,
            author=None,
            is_trusted=False,
            flag_count=0,
            flag_kinds=(),
            state=state,
            decided_by=(),
            **plain,
        )
        for example_id, state in case.more.get("review_states", {}).items()
    ]
    sync_items(site.ledger, items, datetime.now(UTC))
    excluded = [ExcludedExample(example_id=name, reason=LEAK) for name in case.more.get("excluded", ())]
    if excluded:
        write_excluded_examples(layout.instruction_sets, "set", excluded)


def summarize(site: Site) -> str:
    """What a command that materializes prints at its end."""
    output = io.StringIO()
    print_account(site.settings, Console(file=output, width=200))
    return output.getvalue()


def read(visitor: Visitor, path: str) -> str:
    answer = visitor.get(path)
    assert answer.status_code == 200, path
    return unescape(answer.text).replace("<code>", "").replace("</code>", "")


def test_each_reason_is_in_the_summary_on_the_first_page_and_on_the_intake_page(site: Site) -> None:
    """One story, since each desk takes seconds to start."""
    site.add("Someone", "operator")
    visitor = site.signed_in("Someone")
    for case in CASES:
        store(site, case)
        reason = REASONS[case.reason]
        detail = f" ({case.detail} 1)" if case.detail else ""
        expected = f"{reason.meaning}{detail}. Batches: b 1."
        for place, text in (
            ("command", summarize(site)),
            ("first page", read(visitor, "/")),
            ("intake", read(visitor, "/intake")),
        ):
            assert expected in text, (case.reason, place)
            assert reason.remedy.split("`")[0] in text, (case.reason, place)
        (found,) = account_json(site.settings)["left_out"]
        assert (found["batch"], found["reason"], found["count"]) == ("b", case.reason, 1)


def test_a_damaged_table_is_said_instead_of_an_empty_account(site: Site) -> None:
    """An account that silently counts nothing would be the fault that it exists for."""
    layout = site.settings.layout
    path = layout.table("reports", "b")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half a file")
    assert "The account is unknown" in summarize(site)
    site.add("Someone", "operator")
    assert site.signed_in("Someone").get("/intake").status_code == 503
