"""In which kinds of facts a dropped report says something else than the one that stays.

Owns the kinds: numbers, sides of the body, and how much is denied, as sketches hold them. It tells an auditor which pairs to
read and keeps no report: whether two outputs contradict each other is asked of the drafts, in stage 4.
"""

from collections.abc import Iterator

from fine_tune_assets.dedup.corpus import Corpus
from fine_tune_assets.dedup.sketching import side_hashes, starts_of
from fine_tune_assets.dedup.words import Ints


def disagreements(corpus: Corpus, dropped: Ints, kept: Ints) -> Iterator[list[str]]:
    """For each pair of places the kinds, in one order.

    `numbers` and `sides`: the dropped report states some that the kept one lacks. `denials`: it says no more or less often.
    """
    facts, starts = corpus.all_of("facts"), starts_of(corpus.all_of("fact_counts"))
    denials = corpus.all_of("negations")
    sides = set(side_hashes().tolist())
    for gone, stays in zip(dropped.tolist(), kept.tolist(), strict=True):
        mine, theirs = (set(facts[starts[place] : starts[place + 1]].tolist()) for place in (gone, stays))
        lost = mine - theirs
        found = {"numbers": lost - sides, "sides": lost & sides, "denials": denials[gone] != denials[stays]}
        yield [kind for kind, is_there in found.items() if is_there]
