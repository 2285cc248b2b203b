"""The account of what entered each stage, what left it and what was left out: it always adds up, and every reason is in it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.lineage.account import COLUMNS, Account, AccountFacts, count_tables
from fine_tune_assets.lineage.account_reasons import COMPARE, DRAFT, READ, REASONS, REVIEW, SCRUB, SET
from fine_tune_assets.lineage.left_out import describe_omissions
from fine_tune_assets.tables.approval_rows import UndraftedReason, WithheldExampleReason
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets.tables.dedup_rows import UncomparedReason
from fine_tune_assets.tables.record_classes import list_displayable_columns
from fine_tune_assets_tests.lineage.omitted_rows import CASES, STATES, Case


def make_account(
    rows: dict[str, list[dict[str, Any]]],
    review_states: Mapping[str, str] = MappingProxyType({}),
    unread_files: Mapping[str, int] = MappingProxyType({}),
    **more: Any,
) -> Account:
    """`review_states`: draft in the queue → its state."""
    tables = {}
    for name, found in rows.items():
        schema = pa.schema([TABLES[name].field(column) for column in COLUMNS[name]])
        tables[name] = pa.Table.from_pylist(found, schema=schema)
    open_states = set(review_states.values()) - {"approved", "trusted"}
    states = {state: [id for id, found in review_states.items() if found == state] for state in open_states}
    return count_tables(AccountFacts(tables, **more)).complete(states, unread_files)


def require_balance(account: Account) -> None:
    for part in (account, *map(account.of_batch, account.batches)):
        counts = {count.stage: count for count in part.count_stages()}
        for count in counts.values():
            assert count.entered == count.left + count.omitted
        for before, after in ((READ, SCRUB), (SCRUB, COMPARE), (COMPARE, DRAFT), (REVIEW, SET)):
            entered = counts[after].entered if after in counts else 0
            assert entered == (counts[before].left if before in counts else 0)


def test_an_empty_installation_left_nothing_out() -> None:
    account = make_account({})
    assert (account.count_stages(), account.omissions, account.batches) == ([], (), ())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_reason_is_counted_once_with_its_batch_and_its_remedy(case: Case) -> None:
    account = make_account(case.rows, **case.more)
    (omission,) = account.omissions
    assert (omission.reason.name, omission.batch, omission.count) == (case.reason, "b", 1)
    assert case.detail == omission.detail
    require_balance(account)
    (shown,) = describe_omissions(account)
    assert shown.kind == case.reason
    assert omission.reason.meaning in shown.text
    assert case.detail in shown.text
    assert "b 1" in shown.text
    assert shown.remedy


def test_the_cases_cover_the_registry_and_every_reason_that_a_stage_stores() -> None:
    """A new reason without a case is a way to lose a report in silence."""
    assert {case.reason for case in CASES} == set(REASONS)
    stored = [*UncomparedReason, *UndraftedReason, *WithheldExampleReason]
    assert {reason.value for reason in stored} <= set(REASONS)
    assert set(STATES) - {"approved", "trusted"} <= set(REASONS)


def test_a_batch_whose_table_is_missing_is_left_out_and_not_nothing() -> None:
    """The other batch of the stage was scrubbed, so that the table itself exists."""
    reports = [{"report_id": f"{batch}/{n}", "batch": batch, "subject_key": "s"} for batch in "ab" for n in range(30)]
    of_b = [{"report_id": row["report_id"]} for row in reports if row["batch"] == "b"]
    account = make_account({"reports": reports, "scrubbed_reports": of_b, "unique_reports": of_b})
    assert [(one.batch, one.reason.name, one.count) for one in account.omissions] == [
        ("a", "not_scrubbed", 30),
        ("b", "not_drafted", 30),
    ]
    assert [(c.stage.name, c.entered, c.left) for c in account.count_stages()] == [
        ("read", 60, 60), ("scrub", 60, 30), ("compare", 30, 30), ("draft", 30, 0),
    ]  # fmt: skip
    require_balance(account)


IDS = st.sampled_from([f"{batch}/{number}" for batch in ("a", "b", "c.d") for number in range(4)])
EXAMPLES = st.sampled_from(["e1", "e2", "e3", "e4"])


def rows_of(key: str, ids: st.SearchStrategy[str], **columns: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.lists(st.fixed_dictionaries({key: ids, **columns}), max_size=8, unique_by=lambda row: row[key])


def reasons(*found: Any) -> st.SearchStrategy[str]:
    return st.sampled_from([reason.value for reason in found])


TABLES_OF_ANY_STATE = st.fixed_dictionaries(
    {
        "reports": rows_of("report_id", IDS, subject_key=st.sampled_from(["s1", "s2"])).map(
            lambda rows: [{**row, "batch": row["report_id"].split("/")[0]} for row in rows]
        ),
        "unreadable_reports": st.lists(
            st.fixed_dictionaries({"batch": st.sampled_from("abx"), "reason": st.sampled_from(["empty", "bad_id"])}),
            max_size=4,
        ),
        "withheld_reports": st.lists(
            st.fixed_dictionaries({"report_id": IDS, "kind": st.sampled_from(["NAME", "ID", "NOT_SCRUBBED"])}),
            max_size=6,
        ),
        "scrubbed_reports": rows_of("report_id", IDS),
        "unique_reports": rows_of("report_id", IDS),
        "duplicate_reports": rows_of("dropped_id", IDS, kind=st.sampled_from(["exact", "near"])),
        "uncompared_reports": rows_of("report_id", IDS, reason=reasons(*UncomparedReason)),
        "drafted_examples": rows_of("example_id", EXAMPLES, report_id=IDS),
        "undrafted_reports": rows_of(
            "report_id", IDS, reason=reasons(*UndraftedReason), detail=st.sampled_from(["no section: PLAN", ""])
        ),
        "approved_examples": rows_of("example_id", EXAMPLES),
        "withheld_examples": rows_of("example_id", EXAMPLES, reason=reasons(*WithheldExampleReason)),
        "instruction_sets": rows_of("example_id", EXAMPLES),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    TABLES_OF_ANY_STATE,
    st.sets(st.sampled_from(["s1", "s2"])),
    st.dictionaries(EXAMPLES, st.sampled_from(STATES)),
    st.dictionaries(EXAMPLES, st.just("near duplicate in test")),
    st.dictionaries(st.sampled_from("ay"), st.integers(0, 3)),
)
def test_what_entered_is_what_left_and_what_was_left_out_in_any_state_of_the_tables(
    rows: dict[str, list[dict[str, Any]]],
    erased: set[str],
    states: dict[str, str],
    excluded: dict[str, str],
    unread: dict[str, int],
) -> None:
    """Tables of different runs contradict each other: a report may be withheld now and unique since yesterday."""
    account = make_account(rows, states, unread, erased_subjects=erased, excluded=excluded)
    require_balance(account)
    counts = {count.stage: count for count in account.count_stages()}

    def entered(stage: Any) -> int:
        return counts[stage].entered if stage in counts else 0

    assert entered(READ) == len(rows["reports"]) + len(rows["unreadable_reports"]) + sum(unread.values())
    assert entered(SCRUB) == len(rows["reports"])
    assert entered(SCRUB) == account.count_omitted(SCRUB, COMPARE, DRAFT) + sum(
        number for (stage, _), number in account.passed.items() if stage is DRAFT
    )


@pytest.mark.parametrize("name", COLUMNS)
def test_the_account_reads_no_text(name: str) -> None:
    """Every page and command shows it, and reading the texts of a million reports takes minutes."""
    assert set(COLUMNS[name]) <= set(list_displayable_columns(TABLES[name]))
