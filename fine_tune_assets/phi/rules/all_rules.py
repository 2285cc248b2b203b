"""Every rule, in one list.

Owns the order, which decides nothing: findings are taken as their union.
"""

from collections.abc import Iterator

from fine_tune_assets.phi.rules import contacts, dates, names, numbers, places
from fine_tune_assets.phi.rules.rule import Rule, find
from fine_tune_assets.phi.spans import Span

RULES: tuple[Rule, ...] = (*names.RULES, *places.RULES, *dates.RULES, *contacts.RULES, *numbers.RULES)


def find_by_rules(text: str) -> Iterator[Span]:
    return find(text, RULES)
