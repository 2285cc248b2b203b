"""Searches scrubbed text for residual PHI with independent, high-precision patterns.

The patterns are separate from the scrubber's, so that one mistake is not made twice. Reports kinds and counts, never a value. A
report with residual PHI is withheld.
"""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.known_identifiers.finder import find_known_identifiers
from fine_tune_assets.phi.recognizers.domain_rules import DomainRules
from fine_tune_assets.phi.recognizers.rules.rule_list import apply_rules
from fine_tune_assets.phi.spans.identifier_words import MISSING_NAME_VALUES, TITLES
from fine_tune_assets.phi.spans.spans import Span

RULE = "second_pass"
_MASK = "■"
"""Neither a word nor a space, so that text next to a placeholder does not join it into one word."""
_MIN_LITERAL_LENGTH = 7


ResidualPhi = dict[str, int]
"""Kind → number of occurrences in the text."""


def find_residual_phi(
    scrubbed_text: str, known: Sequence[Mapping[str, str]], extra_spans: Iterable[Span], domain: DomainRules
) -> ResidualPhi:
    """Count known identifiers, values with an unmistakable form, and another recognizer's spans in this text."""
    masked = domain.vocabulary.tag.sub(lambda match: _MASK * len(match[0]), scrubbed_text)
    forms = (Span(*m.span(), label, RULE, 1.0) for label, pattern in _FORMS for m in pattern.finditer(masked))
    found = [
        *find_known_identifiers(masked, known, domain.vocabulary),
        *_find_literal(masked, known),
        *domain.drop_kept(masked, (*forms, *apply_rules(masked, domain.checked_rules))),
        *(span for span in extra_spans if masked[span.start : span.end].strip(_MASK + " \n\t.,;:'")),
    ]
    return dict(sorted(Counter(_label_groups(found)).items()))


def _label_groups(spans: Iterable[Span]) -> Iterator[str]:
    """One label per group of overlapping spans: the label of the longest span."""
    longest: Span | None = None
    end = 0
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if longest and span.start >= end:
            yield longest.label
            longest = None
        longest = max(longest, span, key=lambda s: s.end - s.start) if longest else span
        end = max(end, span.end)
    if longest:
        yield longest.label


def _find_literal(masked: str, known: Sequence[Mapping[str, str]]) -> Iterator[Span]:
    """Find known values verbatim, without the rules that spare ordinary words and quantities."""
    plain = [(match.start(), match[0].casefold()) for match in re.finditer(r"\w+", masked)]
    words = [word for _, word in plain]
    for entry in known:
        value = [word.casefold() for word in re.findall(r"\w+", entry["value"])]
        if not _is_identifying(entry["kind"], value):
            continue
        for at in range(len(words) - len(value) + 1):
            if words[at : at + len(value)] == value:
                last = plain[at + len(value) - 1]
                yield Span(plain[at][0], last[0] + len(last[1]), entry["kind"].upper(), RULE, 1.0)


def _is_identifying(kind: str, words: Sequence[str]) -> bool:
    if kind == "name":
        return sum(word not in MISSING_NAME_VALUES and word not in TITLES and len(word) > 1 for word in words) > 1
    is_long = sum(map(len, words)) >= _MIN_LITERAL_LENGTH and any(c.isdigit() for word in words for c in word)
    return kind == "email" or (kind in ("id", "phone") and is_long)


_MONTH = r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\.?"
_STATE = r"(?:AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_NOT_A_NAME = r"(?!(?:Patient|Doctor|Guest|The|This|That|And|But|Who|Will|What|When|How|Why|You|He|She|It|We|They|Is|Are|Was|Can|Do|Did|Please|Thank|Thanks|Okay|Yes|No|Not|In|On|At|To|For|Of|My|Your|So|If|As)\b)"

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (label, compile_bounded(pattern))
    for label, pattern in (
        ("EMAIL", r"[A-Za-z0-9][\w.%+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"),
        ("URL", r"(?i:https?://[^\s■]{3,2000}|\bwww\.[\w-]{1,64}\.[^\s■]{1,2000})"),
        ("URL", r"(?<![@\w.])(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|info|co\.uk)\b"),
        ("ID", rf"(?<![\w.])(?=[\d.]{{9,}})(?:{_OCTET}\.){{3}}{_OCTET}(?![\w]|\.\d)"),
        ("ID", r"(?i)(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])"),
        ("ID", r"(?i)(?<![\w-])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![\w-])"),
        ("SSN", r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
        ("SSN", r"(?i:\b(?:ssn|social security (?:number|no\.?|#)))\W{1,4}(?:is )?\d{3}[ .-]?\d{2}[ .-]?\d{4}(?!\d)"),
        ("PHONE", r"(?<![\w.-])(?:\+?1[ .-])?(?:\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}([.-])\d{3}\1\d{4})(?![\w-]|\.\d)"),
        ("PHONE", r"(?<![\w+])\+\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4}(?!\d)"),
        ("PHONE", r"(?i:\b(?:phone|telephone|tel|fax|cell|mobile|pager)(?: number| no\.?| #)?)(?: is)?[:.]? ?\d{3}[ .-]\d{4}(?!\d)"),
        ("DATE", r"(?<![\w.-])(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?!\d|-\d)"),
        ("DATE", r"(?<![\w./-])(?:0?[1-9]|[12]\d|3[01])([/.-])(?:0?[1-9]|[12]\d|3[01])\1(?:19|20)\d\d(?![\w/-]|\.\d)"),
        ("DATE", r"(?<![\w./-])(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01])/\d\d(?![\w/-]|\.\d)"),
        ("DATE", rf"\b{_MONTH} (?:the )?(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?,? (?:of )?(?:19|20)\d\d\b"),
        ("DATE", rf"(?<![\w.])(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?[ -](?:of )?{_MONTH}[ ,-]{{1,2}}(?:19|20)\d\d\b"),
        ("DATE", r"\b(?:January|February|March|April|May|June|July|August|September|October|November|December) (?:[1-9]|[12]\d|3[01])(?:st|nd|rd|th)\b"),
        ("ID", r"(?i:\b(?:mrn|medical record (?:number|no\.?|#)|patient id|chart (?:number|no\.?|#)|account (?:number|no\.?|#)|policy (?:number|no\.?|#)|member id))\W{0,4}(?:is )?(?:[A-Za-z]{1,4}-?)?\d{4,}\b"),
        ("ID", r"(?i:\b(?:account|acct|policy|member|insurance|license|licence|passport|medicaid|medicare|claim|accession|encounter|record|serial|npi|id|identifier)\b)[^\d\n■]{0,12}(?<![\d.,])\d{7,}(?![\w%]|[.,]\d)"),
        ("ID", r"(?<![\w.,$/-])\d{9,}(?![\w%/-]|[.,]\d)"),
        ("ID", r"(?<![\w-])(?:\d{4}[ -]){3}\d{4}(?![\w-])"),
        ("LOCATION", r"(?<![\w.,-])\d{5}-\d{4}(?![\w-])"),
        ("LOCATION", rf"\b{_STATE},? \d{{5}}(?![\w,]|\.\d)"),
        ("LOCATION", r"(?<![\w.,/-])\d{1,5}[A-Z]? (?:[NSEW]\.? |North |South |East |West )?(?:[A-Z][a-z]+ ){1,3}(?:Street|Avenue|Road|Boulevard|Lane|Drive|Court|Circle|Place|Terrace|Parkway|Highway|St|Ave|Rd|Blvd|Ln|Pkwy|Hwy)\b(?!')"),
        ("LOCATION", r"\bP\.?O\.? Box \d+"),
        ("NAME", rf"\b(?:Dr|Mr|Mrs|Ms|Prof)\b\.? {_NOT_A_NAME}(?:[A-Z]\. {_NOT_A_NAME})?(?!ABCD|XYZ)[A-Z](?:[a-z]{{2,}}|['’][A-Z][a-z]+|[A-Z]{{3,}})\b"),
        ("NAME", rf"\b(?:Doctor|Professor|Miss) {_NOT_A_NAME}[A-Z][a-z]{{2,}}\b"),
    )
)  # fmt: skip
