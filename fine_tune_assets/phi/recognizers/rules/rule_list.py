"""The rules of every domain, in the sets that a domain pack selects, and the function that runs rules.

Order does not matter: the scrubber takes the union of the findings.
"""

from collections.abc import Iterable, Iterator, Mapping

from fine_tune_assets.phi.recognizers.rules import clinical_rules as clinical
from fine_tune_assets.phi.recognizers.rules import contact_rules as contacts
from fine_tune_assets.phi.recognizers.rules import date_rules as dates
from fine_tune_assets.phi.recognizers.rules import name_rules as names
from fine_tune_assets.phi.recognizers.rules import number_rules as numbers
from fine_tune_assets.phi.recognizers.rules import place_rules as places
from fine_tune_assets.phi.recognizers.rules.rule import Rule
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.recipes.domain_pack_schema import RuleSet

RULE_SETS: Mapping[RuleSet, tuple[Rule, ...]] = {
    "names": names.RULES,
    "places": places.RULES,
    "dates": dates.RULES,
    "contacts": contacts.RULES,
    "numbers": numbers.RULES,
    "clinical": clinical.RULES,
}
_CONTEXT_LENGTH = 60


def apply_rules(text: str, rules: Iterable[Rule]) -> Iterator[Span]:
    for rule in rules:
        for match in rule.pattern.finditer(text):
            start, end = match.span(rule.group)
            has_context = rule.context_before is None or rule.context_before.search(
                text[max(0, start - _CONTEXT_LENGTH) : start]
            )
            if start < end and has_context and (rule.checksum is None or rule.checksum(text[start:end])):
                yield Span(start, end, rule.label, rule.name, rule.score)
