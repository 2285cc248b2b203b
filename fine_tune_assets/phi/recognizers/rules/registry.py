"""Every rule in one list, and how they are run.

The order decides nothing: findings are taken as their union.
"""

from collections.abc import Iterator

from fine_tune_assets.phi.recognizers.rules import contacts, dates, names, numbers, places
from fine_tune_assets.phi.recognizers.rules.rule import Rule
from fine_tune_assets.phi.spans.spans import Span

RULES: tuple[Rule, ...] = (*names.RULES, *places.RULES, *dates.RULES, *contacts.RULES, *numbers.RULES)
_LEAD_LENGTH = 60


def find_by_rules(text: str) -> Iterator[Span]:
    for rule in RULES:
        for match in rule.pattern.finditer(text):
            start, end = match.span(rule.group)
            if start < end and (rule.lead is None or rule.lead.search(text[max(0, start - _LEAD_LENGTH) : start])):
                yield Span(start, end, rule.label, rule.name, rule.score)
