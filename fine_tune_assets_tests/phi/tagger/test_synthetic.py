"""Synthetic documents are reproducible from a seed, and labelled exactly."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.phi.tagger.labels import LABELS
from fine_tune_assets.phi.tagger_training.synthetic.synthetic_documents import LabelledText, make_documents
from fine_tune_assets.phi.tagger_training.tagger_documents import Corpora, draw_pools, read_corpora, replant_identifiers


@pytest.fixture(scope="module")
def corpora() -> Corpora:
    return read_corpora(PROJECT_DIR / "data" / "tagger_training")


@pytest.fixture(scope="module")
def synthetic(corpora: Corpora) -> list[LabelledText]:
    return list(make_documents(400, corpora.prose, seed=5))


def _require_exact(documents: list[LabelledText]) -> None:
    for text, spans in documents:
        assert all(0 <= start < end <= len(text) for start, end, _ in spans)
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(spans)))
        assert all(text[start:end].strip() == text[start:end] for start, end, _ in spans)


def test_equal_seeds_give_equal_documents(corpora: Corpora, synthetic: list[LabelledText]) -> None:
    """A tagger that cannot be reproduced cannot be examined."""
    assert list(make_documents(400, corpora.prose, seed=5)) == synthetic
    assert list(make_documents(400, corpora.prose, seed=6)) != synthetic


def test_labels_of_synthetic_documents_are_exact(synthetic: list[LabelledText]) -> None:
    """No slot stays open, and each label covers its own value exactly."""
    _require_exact(synthetic)
    assert not any("{" in text or "}" in text for text, _ in synthetic)


def test_every_label_occurs_and_some_documents_have_none(synthetic: list[LabelledText]) -> None:
    """A tagger never finds what it never saw, and always finds what it always saw."""
    counts = Counter(label for _, spans in synthetic for _, _, label in spans)
    assert set(counts) == set(LABELS[1:])
    assert sum(not spans for _, spans in synthetic) > 20


def test_pools_are_reproducible_and_labelled_exactly(corpora: Corpora) -> None:
    first, again = (draw_pools(corpora, 60, seed=3) for _ in range(2))
    one, two = next(first), next(first)
    assert one == next(again)
    assert one != two
    assert len(one) > 60
    for text, spans in one:
        assert all(0 <= start < end <= len(text) for start, end, _ in spans)


def test_replanting_changes_only_identifiers() -> None:
    """Equal names stay equal, part by part, in every form."""
    text = "Anna Collins came. ANNA rests; Ms. Collins (MRN 5583920) is two weeks better."
    spans = [(0, 12, "NAME"), (19, 23, "NAME"), (35, 42, "NAME"), (48, 55, "MRN")]
    spans += [(text.index("two weeks"), text.index("two weeks") + 9, "DATE_TIME")]
    assert [text[s:e] for s, e, _ in spans] == ["Anna Collins", "ANNA", "Collins", "5583920", "two weeks"]
    new, moved = replant_identifiers((text, spans), 1, {})
    assert replant_identifiers((text, spans), 1, {}) == (new, moved)
    name, capitals, last, number, duration = (new[s:e] for s, e, _ in moved)
    assert [label for *_, label in moved] == [label for *_, label in spans]
    assert name.split() == [*name.split()[:-1], last]
    assert capitals == name.split()[0].upper()
    assert name != "Anna Collins"
    assert number != "5583920"
    assert duration == "two weeks"
    outside = new
    for s, e, _ in reversed(moved):
        outside = outside[:s] + "#" + outside[e:]
    assert outside == "# came. # rests; Ms. # (MRN #) is # better."


def test_own_labelled_sets_exchange_addresses_and_numbers(corpora: Corpora) -> None:
    """The generator's addresses are mostly American: a contract's tagger must see those of contracts in other places too."""
    addresses = [f"Chalet {name}, Unnere Feld {number}" for number, name in enumerate("ABCDEFGHIJ")]
    texts = [f"{address} is let to Anna." for address in addresses]
    own = [
        (text, [(0, len(address), "ADDRESS"), (len(text) - 5, len(text) - 1, "NAME")])
        for text, address in zip(texts, addresses, strict=True)
    ]
    pools = draw_pools(replace(corpora, labelled={**corpora.labelled, "mine": own}), 100, seed=3)
    drawn = [document for document in next(pools) if document[0].endswith(".") and " is let to " in document[0]]
    assert len(drawn) == len(own)
    moved = [text for text, _ in drawn if text.startswith("Chalet ") and text not in texts]
    assert moved
    assert all(text[: spans[0][1]] in addresses for text, spans in drawn if text in moved)


def test_shipped_corpora_are_complete(corpora: Corpora) -> None:
    """Sentences that fill documents contain no labelled identifier."""
    assert set(corpora.labelled) == {"asq_phi", "outis_base", "outis_coverage", "outis_train", "presidio_research"}
    assert min(map(len, (corpora.prose.sentences, corpora.prose.speech, corpora.prose_documents))) > 100
    _require_in_text([*corpora.prose_documents, *(d for documents in corpora.labelled.values() for d in documents)])


def _require_in_text(documents: list[LabelledText]) -> None:
    for text, spans in documents:
        assert all(0 <= start < end <= len(text) for start, end, _ in spans)
