"""What is made up must be the same for the same seed, and labelled to the character."""

from collections import Counter
from itertools import pairwise

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.phi.tagger.labels import LABELS
from fine_tune_assets.phi.tagger_training.examples import Corpora, pools, read_corpora, replanted
from fine_tune_assets.phi.tagger_training.synthetic.documents import Labelled, make_documents


@pytest.fixture(scope="module")
def corpora() -> Corpora:
    return read_corpora(PROJECT_DIR / "data" / "tagger_training")


@pytest.fixture(scope="module")
def made_up(corpora: Corpora) -> list[Labelled]:
    return list(make_documents(400, corpora.prose, seed=5))


def _require_exact(documents: list[Labelled]) -> None:
    for text, spans in documents:
        assert all(0 <= start < end <= len(text) for start, end, _ in spans)
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(spans)))
        assert all(text[start:end].strip() == text[start:end] for start, end, _ in spans)


def test_equal_seeds_make_equal_documents(corpora: Corpora, made_up: list[Labelled]) -> None:
    """A tagger that can't be made again can't be examined."""
    assert list(make_documents(400, corpora.prose, seed=5)) == made_up
    assert list(make_documents(400, corpora.prose, seed=6)) != made_up


def test_labels_of_made_up_documents_are_exact(made_up: list[Labelled]) -> None:
    """No slot is left open, no label lies beside its value, none holds another."""
    _require_exact(made_up)
    assert not any("{" in text or "}" in text for text, _ in made_up)


def test_every_label_occurs_and_so_do_documents_without_any(made_up: list[Labelled]) -> None:
    """What a tagger never saw it never finds; what it always saw it always finds."""
    counts = Counter(label for _, spans in made_up for _, _, label in spans)
    assert set(counts) == set(LABELS[1:])
    assert sum(not spans for _, spans in made_up) > 20


def test_pools_are_the_same_for_the_same_seed_and_labelled_exactly(corpora: Corpora) -> None:
    first, again = (pools(corpora, 60, seed=3) for _ in range(2))
    one, two = next(first), next(first)
    assert one == next(again)
    assert one != two
    assert len(one) > 60
    for text, spans in one:
        assert all(0 <= start < end <= len(text) for start, end, _ in spans)


def test_replanting_changes_identifiers_and_nothing_else() -> None:
    """The same name stays the same name, part by part, in every form that it was written in."""
    text = "Anna Collins came. ANNA rests; Ms. Collins (MRN 5583920) is two weeks better."
    spans = [(0, 12, "NAME"), (19, 23, "NAME"), (35, 42, "NAME"), (48, 55, "MRN")]
    spans += [(text.index("two weeks"), text.index("two weeks") + 9, "DATE_TIME")]
    assert [text[s:e] for s, e, _ in spans] == ["Anna Collins", "ANNA", "Collins", "5583920", "two weeks"]
    new, moved = replanted((text, spans), seed=1)
    assert replanted((text, spans), seed=1) == (new, moved)
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


def test_the_shipped_corpora_are_read_whole(corpora: Corpora) -> None:
    """Sentences that documents are filled up with hold no labelled identifier."""
    assert set(corpora.labelled) == {"asq_phi", "outis_base", "outis_coverage", "outis_train", "presidio_research"}
    assert min(map(len, (corpora.prose.sentences, corpora.prose.speech, corpora.whole_prose))) > 100
    _require_in_text([*corpora.whole_prose, *(d for documents in corpora.labelled.values() for d in documents)])


def _require_in_text(documents: list[Labelled]) -> None:
    for text, spans in documents:
        assert all(0 <= start < end <= len(text) for start, end, _ in spans)
