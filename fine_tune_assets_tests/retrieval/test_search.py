"""What a question finds, and what it must not find: restricted, expired and irrelevant passages."""

from datetime import timedelta
from pathlib import Path

import pytest

from fine_tune_assets.core.prompts.retrieval_contract import EVERYONE
from fine_tune_assets.retrieval.index_build import open_index, prune_indexes
from fine_tune_assets.retrieval.search import Index, SearchResult, fuse_rankings, retrieve
from fine_tune_assets.retrieval.stores import Hit, KnowledgeStoreError, Store
from fine_tune_assets_tests.retrieval.small_index import LEAVE, NOW, SALARIES, VISITS, document, make_index

QUESTION = "How many days of paid time off do full-time staff have?"


def ask(
    index: Index, question: str = QUESTION, labels: tuple[str, ...] = (EVERYONE,), minimum: float = 0.55
) -> SearchResult:
    return retrieve(index, question, labels=labels, now=NOW, limit=3, minimum_score=minimum)


def sources(passages: SearchResult) -> list[str]:
    return [passage.source for passage in passages.passages]


def test_a_question_finds_its_passage_with_its_citation(tmp_path: Path, store: Store) -> None:
    index = make_index(tmp_path, store, document("leave.md", LEAVE), document("visits.md", VISITS))
    (passage,) = ask(index).passages
    assert (passage.source, passage.title, passage.version, passage.headings) == ("leave.md", "Leave", "1", ("Rules",))
    assert passage.text == LEAVE
    assert 0.55 <= passage.score <= 1
    assert ask(index).index_fingerprint == index.fingerprint


def test_a_passage_without_a_callers_label_is_not_scored(tmp_path: Path, store: Store) -> None:
    """The caller must not learn that the document exists, neither by a passage nor by a score."""
    index = make_index(tmp_path, store, document("pay.md", SALARIES, ("hr",)))
    question = "In which band is the salary of a ward head paid?"
    assert ask(index, question, (EVERYONE, "clinical")) == SearchResult((), index.fingerprint, None)
    assert ask(index, question, ()).best_score is None
    assert sources(ask(index, question, (EVERYONE, "hr"))) == ["pay.md"]


@pytest.mark.parametrize("label", ["hr' OR '1'='1", "HR", "", "%"])
def test_an_invalid_label_gives_no_access(tmp_path: Path, store: Store, label: str) -> None:
    index = make_index(tmp_path, store, document("pay.md", SALARIES, ("hr",)))
    assert ask(index, "salary of a ward head", (label,)).best_score is None


@pytest.mark.parametrize(
    ("days", "is_found"),
    [
        (("2026-06-15", None), True),
        (("2026-06-16", None), False),
        ((None, "2026-06-15"), True),
        ((None, "2026-06-14"), False),
        (("2026-01-01", "2026-12-31"), True),
    ],
)
def test_only_passages_valid_today_are_found(
    tmp_path: Path, store: Store, days: tuple[str | None, str | None], is_found: bool
) -> None:
    index = make_index(tmp_path, store, document("leave.md", LEAVE, days=days))
    assert (ask(index).best_score is not None) is is_found


def test_irrelevant_passages_are_not_returned(tmp_path: Path, store: Store) -> None:
    """There is always a nearest passage, and an irrelevant one would be cited."""
    index = make_index(tmp_path, store, document("leave.md", LEAVE), document("visits.md", VISITS))
    result = ask(index, "Which antibiotic is given for a urinary tract infection?")
    assert result.passages == ()
    assert result.best_score is not None
    assert result.best_score < 0.55
    assert sources(ask(index, "Which antibiotic is given for a urinary tract infection?", minimum=0.0)) != []


@pytest.mark.parametrize("question", ["", "  \n", "?!", 'days AND OR NOT ( " * : ^ ~ [', "'; DROP TABLE chunks; --"])
def test_search_operators_in_a_question_have_no_effect(tmp_path: Path, store: Store, question: str) -> None:
    index = make_index(tmp_path, store, document("leave.md", LEAVE))
    assert len(ask(index, question, minimum=0.0).passages) <= 1
    assert sources(ask(index)) == ["leave.md"]


def test_word_search_finds_a_rare_word_that_vectors_miss(tmp_path: Path, store: Store) -> None:
    """A form number means nothing to an encoder."""
    forms = [
        document(f"form-{n}.md", f"Form QX-{n} is for travel expenses, and is sent to the accounting office.")
        for n in range(60, 95)
    ]
    index = make_index(tmp_path, store, *forms)
    assert sources(ask(index, "Where is form QX-77 sent?"))[0] == "form-77.md"


def test_a_missing_or_empty_index(tmp_path: Path, store: Store) -> None:
    empty = make_index(tmp_path, store)
    assert ask(empty, minimum=0.0) == SearchResult((), empty.fingerprint, None)
    store.remove(empty.fingerprint)
    with pytest.raises(KnowledgeStoreError, match="fine-tune materialize knowledge_indexes"):
        store.open(empty.fingerprint)


def test_the_same_documents_give_the_same_index_everywhere(tmp_path: Path, store: Store) -> None:
    both = document("leave.md", LEAVE), document("visits.md", VISITS)
    first, second = make_index(tmp_path / "a", store, *both), make_index(tmp_path / "b", store, *both)
    assert first.fingerprint == second.fingerprint
    assert ask(first) == ask(second)
    other = make_index(tmp_path / "a", store, document("leave.md", LEAVE.replace("20", "25")), both[1])
    assert other.fingerprint != first.fingerprint
    assert len(store.list_indexes()) == 2


def test_a_changed_index_is_not_opened(tmp_path: Path) -> None:
    from fine_tune_assets.retrieval.lance_store import LanceStore

    store = LanceStore(tmp_path / "indexes")
    index = make_index(tmp_path, store, document("leave.md", LEAVE))
    data = next((tmp_path / "indexes").rglob("data/*.lance"))
    data.write_bytes(data.read_bytes() + b"x")
    with pytest.raises(KnowledgeStoreError, match="fine-tune materialize knowledge_indexes"):
        store.open(index.fingerprint)
    repaired = make_index(tmp_path, store, document("leave.md", LEAVE))
    assert sources(ask(repaired)) == ["leave.md"]


def test_fusion_prefers_passages_found_by_both_searches() -> None:
    a, b, c = (Hit({"chunk_id": name}, 0.5) for name in "abc")
    assert fuse_rankings([[a, b], [b, c]]) == [b, a, c]


def test_unused_indexes_are_removed_with_their_term_statistics(tmp_path: Path, store: Store) -> None:
    old, kept = (make_index(tmp_path / "indexes", store, document("leave.md", text)) for text in (LEAVE, VISITS))
    assert prune_indexes(tmp_path / "indexes", store, [kept.fingerprint]) == [old.fingerprint[:16]]
    assert prune_indexes(tmp_path / "indexes", store, [kept.fingerprint]) == []
    again = open_index(tmp_path / "indexes", store, kept.fingerprint, kept.encode)
    assert sources(ask(again, "When are visitors welcome on the general wards?")) == ["leave.md"]
    with pytest.raises(KnowledgeStoreError):
        open_index(tmp_path / "indexes", store, old.fingerprint, kept.encode)


def test_a_passage_lookup_by_id_requires_its_label(tmp_path: Path, store: Store) -> None:
    """Its validity does not matter: it was valid when it was cited."""
    past = (None, "2026-06-14")
    index = make_index(tmp_path, store, document("leave.md", LEAVE, days=past), document("pay.md", SALARIES, ("hr",)))
    (passage,) = retrieve(index, "salary of a ward head", labels=["hr"], now=NOW, limit=1, minimum_score=0).passages
    assert index.store.find_chunks([passage.passage_id], [EVERYONE]) == []
    (row,) = index.store.find_chunks([passage.passage_id, "0" * 16], [EVERYONE, "hr"])
    assert {name: row[name] for name in ("source", "title", "version", "text")} == {
        "source": "pay.md", "title": "Pay", "version": "1", "text": SALARIES,
    }  # fmt: skip
    assert (list(row["heading_path"]), list(row["labels"])) == (["Rules"], ["hr"])
    yesterday = retrieve(index, QUESTION, labels=[EVERYONE], now=NOW - timedelta(days=1), limit=1, minimum_score=0)
    assert len(index.store.find_chunks([yesterday.passages[0].passage_id], [EVERYONE])) == 1


@pytest.mark.parametrize("chunk_id", ["x') OR ('a' = 'a", "", "%", "0" * 64])
def test_an_invalid_chunk_id_finds_nothing(tmp_path: Path, store: Store, chunk_id: str) -> None:
    index = make_index(tmp_path, store, document("leave.md", LEAVE))
    assert index.store.find_chunks([chunk_id], [EVERYONE]) == []
    assert index.store.find_chunks([], [EVERYONE]) == []
