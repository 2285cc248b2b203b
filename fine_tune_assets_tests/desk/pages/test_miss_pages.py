"""The page of missed identifiers: the only one with text before scrubbing, so for one role, with each view recorded."""

import json
import re
from collections.abc import Callable

import httpx
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.permissions import ROLES
from fine_tune_assets.desk.pages.miss_pages import CONTEXT_CHARACTERS, MISSED, PAGE_MISSES, REMOVED, TAG, cut_context
from fine_tune_assets.ledger.audit.audit_log import list_entries
from fine_tune_assets.phi.measurement.recall import GoldDocument
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.tables.scrubbing_rows import LabelledMiss
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.labelled_misses import FAR, write_misses

ACTION = "read missed identifiers"


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward()
    for role in ROLES:
        made.add(f"The {role}", role)
    return made


@pytest.fixture
def ingest(site: Site) -> Visitor:
    return site.signed_in("The ingest")


def views(site: Site) -> list[str]:
    return [entry.resource for entry in list_entries(site.ledger) if entry.action == ACTION]


def test_a_miss_is_shown_in_its_context_with_what_would_catch_it(site: Site, ingest: Visitor) -> None:
    """A rule can't be mended without the words around what it missed."""
    write_misses(site.settings)
    page = ingest.get("/misses")
    assert page.status_code == 200
    assert "<del>Moira </del><mark>Quillfeather</mark>" in page.text
    assert "&lt;b&gt;" in page.text
    assert "protected_words.txt" in page.text
    assert r"(?&lt;![\w-])[A-Z]{2}-\d{3}-\d{3}(?![\w-])" in page.text
    assert "/docs/how-to/add-a-domain.md" in page.text
    assert ingest.get("/docs/how-to/add-a-domain.md").status_code == 200
    assert "/docs/how-to/mark-missed-phi.md" in page.text


def test_a_miss_names_its_document_as_the_labelled_file_does(site: Site, ingest: Visitor) -> None:
    """A reader looks the document up by its id; a number alone means counting lines. The audit log keeps the number only."""
    write_misses(site.settings, 3, ids=("permit <7>", 12))
    shown = ingest.get("/misses?kind=NAME").text
    found = re.findall(r'<span class="id">own</span>, (.*?)</span></div>', shown)
    assert found == [
        '<span class="id">permit &lt;7&gt;</span> (document 1)',
        '<span class="id">12</span> (document 2)',
        "document 3",
    ]
    assert views(site) == ["labelled documents own 1, own 2, own 3"]


def test_other_identifiers_and_the_rest_of_the_report_stay_hidden(site: Site, ingest: Visitor) -> None:
    """The page shows as little of a report as mending a rule needs."""
    write_misses(site.settings)
    shown = ingest.get("/misses").text
    assert "Tobias" not in shown
    assert "[NAME]" in shown
    assert "Ada Lark" not in shown
    assert FAR not in shown


@pytest.mark.parametrize("role", [role for role in ROLES if role != "ingest"])
def test_no_other_role_may_open_it(site: Site, role: str) -> None:
    """Raw text is for those who deliver it. Who can approve, sign, or manage users does not need it."""
    write_misses(site.settings)
    answer = site.signed_in(f"The {role}").get("/misses")
    assert answer.status_code == 403
    assert "Quillfeather" not in answer.text
    assert views(site) == []


def test_each_view_is_recorded_without_text(site: Site, ingest: Visitor) -> None:
    write_misses(site.settings, 2)
    ingest.get("/misses?kind=NAME")
    ingest.get("/misses")
    assert views(site) == ["labelled documents own 1, own 2"] * 2
    assert {entry.actor for entry in list_entries(site.ledger) if entry.action == ACTION} == {"The ingest"}
    assert "Quillfeather" not in str(list_entries(site.ledger))


def test_a_view_that_can_not_be_recorded_shows_nothing(site: Site, ingest: Visitor) -> None:
    """Otherwise raw text could be read without a trace."""
    write_misses(site.settings)
    with site.ledger.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    answer = ingest.get("/misses")
    assert answer.status_code >= 500
    assert "Quillfeather" not in answer.text


def test_no_browser_or_proxy_keeps_the_page(site: Site, ingest: Visitor) -> None:
    write_misses(site.settings)
    assert ingest.get("/misses").headers["cache-control"] == "no-store"


def test_a_page_has_a_limited_number_of_misses(site: Site, ingest: Visitor) -> None:
    """So that no single request reads a whole labelled set."""
    write_misses(site.settings, PAGE_MISSES)
    first, second = ingest.get("/misses"), ingest.get(f"/misses?first={PAGE_MISSES}")
    assert [page.text.count("data-row") for page in (first, second)] == [PAGE_MISSES, PAGE_MISSES]
    assert f"first={PAGE_MISSES}" in first.text
    assert f"first={2 * PAGE_MISSES}" not in second.text
    for hostile in ("first=999999999999999999", "first=-1", "set=../../keys", "kind=%27", "set=own&set=x"):
        answer: httpx.Response = ingest.get(f"/misses?{hostile}")
        assert answer.status_code == 200
        assert answer.text.count("data-row") <= PAGE_MISSES


def test_a_labelled_file_that_changed_is_not_cut_at_old_offsets(site: Site, ingest: Visitor) -> None:
    """Other words would be shown as the miss, and identifiers that were hidden would appear."""
    file = write_misses(site.settings)
    file.write_text(
        json.dumps({"text": "Tobias Wren " * 100, "spans": [{"start": 0, "end": 11, "label": "NAME"}]}) + "\n"
    )
    shown = ingest.get("/misses").text
    assert "changed after the measurement" in shown
    assert "Tobias" not in shown
    file.unlink()
    assert "changed after the measurement" in ingest.get("/misses").text
    assert views(site) == []


def test_a_set_without_misses_and_an_installation_without_a_measurement_say_so(site: Site, ingest: Visitor) -> None:
    assert "Not measured yet" in ingest.get("/misses").text
    write_misses(site.settings)
    write_table(site.settings.layout.table("labelled_misses"), LabelledMiss.SCHEMA.empty_table())
    assert "No misses" in ingest.get("/misses").text


def test_what_overlaps_a_miss_is_hidden_outside_of_it() -> None:
    """Labels may nest: an address with a name in it."""
    text = "To Ada Lark, 12 Elm Road, Ely, now. " + "x" * 300
    gold = [Span(3, 11, "NAME", "", 1.0), Span(3, 29, "ADDRESS", "", 1.0), Span(26, 29, "CITY", "", 1.0)]
    row = LabelledMiss(
        labelled_set="s", file_fingerprint="f", document=1, start=3, end=11, missed_start=7, missed_end=11, label="NAME",
        cause="no_form", rule=None, scrubber_version="v",
    )  # fmt: skip
    pieces = cut_context(GoldDocument(text, tuple(gold)), row)
    shown = "".join(piece.text for piece in pieces)
    assert shown.startswith("To Ada Lark[ADDRESS]")
    assert "Elm" not in shown
    assert "Ely" not in shown
    assert len(shown) < 2 * CONTEXT_CHARACTERS + 60
    assert {kind for piece in pieces for kind in piece.kinds} == {MISSED, REMOVED, TAG}
