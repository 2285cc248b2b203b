"""All rules in one list, and the function that runs them.

Order does not matter: the scrubber takes the union of the findings.
"""

from collections.abc import Iterator

from fine_tune_assets.phi.recognizers.rules import contact_rules as contacts
from fine_tune_assets.phi.recognizers.rules import date_rules as dates
from fine_tune_assets.phi.recognizers.rules import name_rules as names
from fine_tune_assets.phi.recognizers.rules import number_rules as numbers
from fine_tune_assets.phi.recognizers.rules import place_rules as places
from fine_tune_assets.phi.recognizers.rules.rule import Rule
from fine_tune_assets.phi.spans.spans import Span

RULES: tuple[Rule, ...] = (*names.RULES, *places.RULES, *dates.RULES, *contacts.RULES, *numbers.RULES)
_CONTEXT_LENGTH = 60


def apply_rules(text: str) -> Iterator[Span]:
    for rule in RULES:
        for match in rule.pattern.finditer(text):
            start, end = match.span(rule.group)
            if start < end and (
                rule.context_before is None or rule.context_before.search(text[max(0, start - _CONTEXT_LENGTH) : start])
            ):
                yield Span(start, end, rule.label, rule.name, rule.score)
