"""How texts are cut for the page: nothing lost, nothing added, and each piece marked as what it is."""

from hypothesis import example, given
from hypothesis import strategies as st

from fine_tune_assets.core.identifier_kinds import KINDS
from fine_tune_assets.desk.pages.marked_text import (
    FAMILIES,
    FAMILY_LABELS,
    diff_words,
    find_flagged_places,
    list_families,
    mark_diff_spans,
    mark_placeholders,
    mark_spans,
)

_TEXT = st.text(alphabet="ab 1.\n[é", max_size=60)


@given(_TEXT, st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70), st.sampled_from("xy")), max_size=5))
@example("11", [(-2, -1, "x"), (70, 71, "y")])
def test_marks_that_lie_over_each_other_lose_no_text(text: str, spans: list[tuple[int, int, str]]) -> None:
    """A flagged number can be inside a flagged sentence."""
    assert "".join(piece.text for piece in mark_spans(text, spans)) == text


def test_a_changed_word_is_changed_as_a_whole() -> None:
    """Half of a number must never look unchanged."""
    pieces = diff_words("Dose 10 mg.", "Dose 15 mg.")
    assert [(p.text, p.change) for p in pieces] == [
        ("Dose ", "same"), ("10", "removed"), ("15", "added"), (" mg.", "same"),
    ]  # fmt: skip
    assert [p.text for p in diff_words("38.4 C", "39.4 C")] == ["38.4", "39.4", " C"]


@given(_TEXT, _TEXT, st.lists(st.tuples(st.integers(-5, 70), st.integers(-5, 70), st.sampled_from("xy")), max_size=5))
def test_marks_in_a_diff_change_no_text_and_lie_where_they_lie_in_the_text_after(
    before: str, after: str, spans: list[tuple[int, int, str]]
) -> None:
    """A reviewer who approves by the diff must have seen every character, whatever was removed in front of a mark."""
    pieces = mark_diff_spans(diff_words(before, after), spans)
    assert "".join(p.text for p in pieces if p.change != "added") == before
    shown = [(c, p.kinds) for p in pieces if p.change != "removed" for c in p.text]
    assert shown == [(c, p.kinds) for p in mark_spans(after, spans) for c in p.text]


def test_only_the_kinds_of_identifiers_are_places_of_identifiers() -> None:
    """`[see above]` is text of the report."""
    marked = [
        piece.text for piece in mark_placeholders("[NAME] came on [DATE], [see above].", "clinical") if piece.kinds
    ]
    assert marked == ["[NAME]", "[DATE]"]


def test_every_kind_of_identifier_belongs_to_one_family() -> None:
    """A placeholder without a family would have no colour, and break the page."""
    assert sorted(kind for kinds in FAMILIES.values() for kind in kinds) == sorted(KINDS)
    assert list(FAMILIES) == list(FAMILY_LABELS)


def test_the_legend_lists_the_families_that_occur() -> None:
    """Colours that are not on the page need no explanation."""
    pieces = mark_placeholders("Seen by [NAME] on [DATE], call [PHONE] or [FAX].", "clinical", outside=[(0, 8)])
    assert list(list_families(pieces)) == ["people", "dates", "numbers"]
    assert [(piece.text, piece.kinds) for piece in pieces[:3]] == [
        ("Seen by ", ("outside",)), ("[NAME]", ("people",)), (" on ", ()),
    ]  # fmt: skip


def test_each_flagged_place_has_the_number_of_its_flag() -> None:
    """So that a reviewer finds the words of each flag."""
    text = "No fever. Take 80 mg on the left side."
    flags = ["label noise: the output is a template", "number not in input: 80 mg", "side not in input: left side"]
    marked = {piece.text: piece.numbers for piece in mark_spans(text, find_flagged_places(text, flags))}
    assert {part: numbers for part, numbers in marked.items() if numbers} == {"80 mg": (2,), "left side": (3,)}


def test_a_kind_of_the_domain_alone_is_a_number() -> None:
    """Its tag is a placeholder in this domain only."""
    found = {domain: mark_placeholders("Matter [MATTER_NUMBER].", domain) for domain in ("law", "clinical")}
    kinds = {domain: [piece.kinds for piece in pieces if piece.kinds] for domain, pieces in found.items()}
    assert kinds == {"law": [("numbers",)], "clinical": []}
