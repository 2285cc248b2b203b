"""How much of what is learned may come from one author's corrections.

Owns the arithmetic, and which ones wait: the last to arrive. Names are compared as persons.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import floor

from fine_tune_assets.core.people import person_key


def beyond_influence(
    authors: Mapping[str, str], arrival: Sequence[str], total: int, maximum_fraction: float
) -> frozenset[str]:
    """Ids of the corrections that must wait, so that no author wrote more than `maximum_fraction` of what is left.

    `authors`: correction id → author, of those that are approved. `arrival`: these ids in the order in which they arrived.
    `total`: approved examples, these among them.
    """
    if maximum_fraction >= 1:
        return frozenset()
    by_author: dict[str, list[str]] = defaultdict(list)
    for correction_id in arrival:
        by_author[person_key(authors[correction_id])].append(correction_id)
    kept = Counter({author: len(ids) for author, ids in by_author.items()})
    while True:
        # Less of one author makes the others' share larger: again, until nothing changes. It only ever falls.
        left = total - sum(len(ids) - kept[author] for author, ids in by_author.items())
        allowed = {
            author: min(count, most_beside(left - count, maximum_fraction)) for author, count in kept.items() if count
        }
        if all(allowed[author] == kept[author] for author in allowed):
            break
        kept.update({author: most - kept[author] for author, most in allowed.items()})
    return frozenset(one for author, ids in by_author.items() for one in ids[kept[author] :])


def most_beside(others: int, maximum_fraction: float) -> int:
    """How many may stand beside so many of others.

    >>> most_beside(75, 0.25), most_beside(0, 0.25)
    (25, 0)
    """
    # The small term: .25 / .75 * 75 is 24.999… in floating point.
    return floor(maximum_fraction / (1 - maximum_fraction) * others + 1e-9)
