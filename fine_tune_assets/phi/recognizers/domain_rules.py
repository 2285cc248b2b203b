"""The rules of a domain: the shared ones that its pack selects, its own recognizers, and what it keeps.

Keeping never applies to known identifiers from metadata.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.recognizers.rules.rule import Rule
from fine_tune_assets.phi.recognizers.rules.rule_list import RULE_SETS
from fine_tune_assets.phi.recognizers.tagged_spans import RULE as TAGGER_RULE
from fine_tune_assets.phi.spans.checksums import CHECKSUMS
from fine_tune_assets.phi.spans.spans import KNOWN_RULE, Intervals, Offsets, Span, merge_spans
from fine_tune_assets.phi.spans.vocabulary import Vocabulary, load_vocabulary
from fine_tune_assets.recipes.domain_pack_schema import DomainPack, KeptValue, PresidioEntity, RecognizerSettings
from fine_tune_assets.recipes.domain_packs import LoadedPack, load_pack

_NAME_LABELS = {"NAME", "LOCATION", "FACILITY"}
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE_ENDS = ".,;:!?"
_MAX_CONTEXT = 60
"""Characters before a date in which a word can make it personal."""
_MAX_QUESTION = 200
_ANSWERS_BIRTH_QUESTION = re.compile(
    r"\b(?:birth[ ]?dates?|birthdays?|dates?[ ]of[ ]birth|d\.?o\.?b\.?|born)\b[^?\n]{0,60}\?[^\n]{0,20}\n[^\n]{0,60}\Z",
    re.IGNORECASE,
)
"""The line after a question about a date of birth."""
_DEATH_OF_RELATIVE = re.compile(
    r"\b(?:husband|wife|spouse|partner|mother|father|mum|mom|dad|brother|sister|son|daughter|uncle|aunt|grand(?:mother|father|ma|pa))\b"
    r"[^.;\n\d]{0,30}[ ](?:passed(?:[ ](?:on|over|away))?|died|was[ ]buried|was[ ]cremated)\b[^.;\n\d]{0,20}\Z",
    re.IGNORECASE,
)
"""`Passed on` alone is also said of an invoice."""


@dataclass(frozen=True, eq=False)
class DomainRules:
    rules: tuple[Rule, ...]
    """Shared rules and the pack's own."""
    own_kinds: frozenset[str]
    """Kinds that only this domain has: identifying numbers."""
    presidio: Mapping[PresidioEntity, str]
    """Entity of Presidio → kind."""
    vocabulary: Vocabulary
    kept_values: tuple[re.Pattern[str], ...]
    personal_date: re.Pattern[str] | None
    """What precedes a date that is an identifier; None: every date is one."""

    @property
    def checked_rules(self) -> tuple[Rule, ...]:
        """Rules with check digits, whose form is unmistakable."""
        return tuple(rule for rule in self.rules if rule.checksum is not None)

    def drop_kept(self, text: str, spans: Iterable[Span]) -> Iterator[Span]:
        """Drop findings that the domain keeps: kept values, dates that are not personal, and protected words."""
        found = list(spans)
        kept = Intervals(self.find_kept_values(text) if found else ())
        for span in found:
            # A finding may end with the full stop of its sentence, which a pattern for the value does not expect.
            end = span.start + len(text[span.start : span.end].rstrip(_SENTENCE_ENDS))
            if (
                not kept.has_around(span.start, end)
                and not self._is_kept_date(text, span)
                and not self._is_protected(text, span)
            ):
                yield span

    def prefer_own_kinds(self, text: str, spans: Sequence[Span]) -> list[Span]:
        """Drop findings of other kinds that add no digit to the domain's own, and no word that could identify.

        The tagger labels "Bar No. 284511" as a place and an IBAN with the word before it as an account.
        """
        own = [span for span in spans if span.label in self.own_kinds]
        if not own:
            return list(spans)
        found, rest = Intervals((span.start, span.end) for span in own), list(text)
        for span in merge_spans(text, own):
            rest[span.start : span.end] = " " * (span.end - span.start)
        blanked = "".join(rest)
        return [span for span in spans if span.label in self.own_kinds or not self._is_covered(blanked, span, found)]

    def name_known(self, known: Iterable[Span], found: Iterable[Span]) -> Iterator[Span]:
        """Stated numbers, with the domain's own kind where its recognizer finds the same number."""
        own = {(span.start, span.end): span.label for span in found if span.label in self.own_kinds}
        for span in known:
            label = own.get((span.start, span.end)) if span.label == "ID" else None
            yield replace(span, label=label) if label else span

    def _is_covered(self, blanked: str, span: Span, own: Intervals) -> bool:
        if not own.has_overlap(span.start, span.end) or span.recognizer == KNOWN_RULE:
            return False
        rest = blanked[span.start : span.end]
        if any(c.isdigit() for c in rest):
            return False
        return span.label not in _NAME_LABELS or self._has_known_words_only(rest)

    def _has_known_words_only(self, text: str) -> bool:
        known = self.vocabulary.ordinary_words | self.vocabulary.function_words
        return all(word.lower() in known for word in _WORD.findall(text))

    def find_kept_values(self, text: str) -> Iterator[Offsets]:
        return (match.span() for pattern in self.kept_values for match in pattern.finditer(text))

    def _is_kept_date(self, text: str, span: Span) -> bool:
        if self.personal_date is None:
            return False
        if span.label != "DATE":
            # The tagger reads "ninety (90) days" and "one digit away" as ages.
            return span.label == "AGE" and span.recognizer == TAGGER_RULE
        before = text[max(0, span.start - _MAX_QUESTION) : span.start]
        if _ANSWERS_BIRTH_QUESTION.search(before) or _DEATH_OF_RELATIVE.search(before):
            return False
        return self.personal_date.search(before[-_MAX_CONTEXT:]) is None

    def _is_protected(self, text: str, span: Span) -> bool:
        """Whether a finding consists of protected words, and perhaps ordinary ones: the Supplier, Governing Law."""
        if not self.vocabulary.protected_words:
            return False
        value = text[span.start : span.end]
        words = {word.lower() for word in _WORD.findall(value)}
        if any(c.isdigit() for c in value):
            return False
        return not self.vocabulary.protected_words.isdisjoint(words) and self._has_known_words_only(value)


def load_rules(domain: str) -> DomainRules:
    """The rules of a domain pack. Raises DomainPackError."""
    return _build_rules(load_pack(domain))


@lru_cache(maxsize=16)
def _build_rules(loaded: LoadedPack) -> DomainRules:
    pack = loaded.pack
    own = [_build_own_rule(one.kind, settings) for one in pack.identifiers for settings in one.recognizers]
    return DomainRules(
        rules=(*(rule for name in pack.rule_sets for rule in RULE_SETS[name]), *own),
        own_kinds=frozenset(pack.own_kinds),
        presidio={entity: one.kind for one in pack.identifiers for entity in one.presidio},
        vocabulary=load_vocabulary(loaded.name),
        kept_values=tuple(map(_compile, pack.kept_values)),
        personal_date=_compile_personal_date(pack),
    )


def _build_own_rule(kind: str, settings: RecognizerSettings) -> Rule:
    pattern = _compile(settings)
    checksum = CHECKSUMS[settings.checksum] if settings.checksum else None
    context = (
        _compile_context(settings.context, rf"[^\n]{{0,{settings.context_characters}}}") if settings.context else None
    )
    group: int | str = "value" if "value" in pattern.groupindex else 0
    return Rule(settings.name, kind, pattern, settings.score, group, context, checksum)


def _compile(settings: RecognizerSettings | KeptValue) -> re.Pattern[str]:
    return compile_bounded(settings.pattern, re.IGNORECASE if settings.ignore_case else re.NOFLAG)


def _compile_personal_date(pack: DomainPack) -> re.Pattern[str] | None:
    return _compile_context(pack.personal_date_words, r"[^.;)\d]{0,40}") if pack.dates == "personal" else None


def _compile_context(words: Sequence[str], between: str) -> re.Pattern[str]:
    """One of the words, then the value."""
    alternatives = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in words)
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)\.?{between}\Z", re.IGNORECASE)
