"""Which text of an example needs no second search for identifiers."""

from typing import Any

import pytest

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import trusted_texts
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import table_from_rows


def trusted(domain: str, **values: Any) -> dict[str, str]:
    row = {
        "example_id": "e1",
        "report_id": "b/1",
        "source": "s",
        "subject_key": "k",
        "task": "t",
        "instruction": "Summarize.",
        "input": "A clause.",
        "output": "A summary.",
        "drafted_by": "sections",
        "flags": [],
        "needs_review": True,
        "fingerprint": "f",
        **values,
    }
    fields = DraftedExample.SCHEMA.names
    table = table_from_rows([{name: row.get(name) for name in fields}], DraftedExample.SCHEMA)
    return trusted_texts(table, load_pack(domain).pack)


WHOLE = {"e1": "Summarize.\n\nA clause.\n\nA summary."}


def test_a_draft_is_trusted_only_if_the_pack_searches_changed_texts() -> None:
    assert trusted("law") == WHOLE
    assert trusted("clinical") == {}


@pytest.mark.parametrize("domain", ["clinical", "law"])
def test_a_correction_is_trusted_in_every_domain(domain: str) -> None:
    """Its surrogates are on no list."""
    assert trusted(domain, source=CORRECTION) == WHOLE


def test_what_a_model_wrote_is_not_trusted() -> None:
    """Neither its question nor its answer comes from a scrubbed report."""
    assert trusted("law", drafted_by="model 0f3a") == {"e1": "A clause."}
