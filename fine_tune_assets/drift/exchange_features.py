"""Extracts features of a request and its answer, and sums them: length bins, language, headings and refusal; never a word.

The same function reads users' requests and training examples. Bin names come from this module and the recipe, never from the
text.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fine_tune_assets.claims.sections import extract_section_texts, find_section, list_heading_variants
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.drift.languages import detect_language
from fine_tune_assets.recipes.schema import Heading, Task

VERSION = 3
"""Raise it when extraction changes: windows extracted differently are then not compared."""
MAX_CHARACTERS = 32_000
BINNED_FEATURES = ("prompt_words", "answer_words", "language", "sections")
"""Features with one bin per request."""
NO_HEADINGS = "none"
_REFUSAL_PATTERNS = (
    r"(?:i['’]?m|i am) (?:very |so )?(?:sorry|afraid)\b",
    r"sorry\b",
    r"(?:unfortunately, )?i (?:can['’]?t|can ?not|could not|couldn['’]?t|am not able|am unable|won['’]?t|will not)\b",
    r"i (?:do not|don['’]?t) have\b",
    r"i['’]m (?:not able|unable)\b",
    r"as an? (?:ai|artificial|language model|large language)",
    r"(?:es )?tut mir leid\b",
    r"ich kann (?:das|dies|ihnen|dir|diese \w+)?\s*(?:leider )?nicht\b",
    r"(?:je suis )?désolée?\b",
    r"lo siento\b",
)
_REFUSAL = re.compile("|".join(f"(?:{form})" for form in _REFUSAL_PATTERNS), re.IGNORECASE)
"""Openings of a refusal. A subject who "cannot walk" is not one."""
_WORD_BIN_EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class Exchange:
    prompt: str
    """The user's last turn, as sent."""
    answer: str
    finish_reason: str | None = None
    has_passages: bool | None = None
    """Whether documents were found; None if retrieval was not used."""


@dataclass(frozen=True)
class RequestFeatures:
    prompt_words: str
    answer_words: str
    language: str
    sections: str
    is_refused: bool
    has_passages: bool | None


def extract_features(exchange: Exchange, headings: Sequence[Heading]) -> RequestFeatures:
    prompt = exchange.prompt[:MAX_CHARACTERS]
    return RequestFeatures(
        prompt_words=word_count_bin(len(prompt.split())),
        answer_words=word_count_bin(len(exchange.answer[:MAX_CHARACTERS].split())),
        language=detect_language(prompt),
        sections=_section_pattern(prompt, headings),
        is_refused=is_refusal(exchange.answer, exchange.finish_reason),
        has_passages=exchange.has_passages,
    )


def is_refusal(answer: str, finish_reason: str | None) -> bool:
    """Whether the answer is empty, filtered by the engine, or opens with a refusal. Tool calls without text are answers.

    >>> is_refusal("I'm sorry, but I can't help with that.", None), is_refusal("Sprained ankle.", None)
    (True, False)
    """
    text = answer.strip()
    if not text:
        return finish_reason != "tool_calls"
    return finish_reason == "content_filter" or _REFUSAL.match(text) is not None


def word_count_bin(words: int) -> str:
    """Return the bin of a word count.

    >>> word_count_bin(0), word_count_bin(5), word_count_bin(9000)
    ('0', '4-7', '2048+')
    """
    place = max(i for i, step in enumerate(_WORD_BIN_EDGES) if step <= words)
    if place == len(_WORD_BIN_EDGES) - 1:
        return f"{_WORD_BIN_EDGES[-1]}+"
    low, high = _WORD_BIN_EDGES[place], _WORD_BIN_EDGES[place + 1] - 1
    return str(low) if low == high else f"{low}-{high}"


def task_headings(tasks: Iterable[Task]) -> tuple[Heading, ...]:
    """Every heading that the tasks name, without repeats."""
    headings: dict[Heading, None] = {}
    for task in tasks:
        headings |= dict.fromkeys(task.used_headings)
    return tuple(headings)


def extractor_fingerprint(headings: Sequence[Heading]) -> str:
    """Fingerprint of the extraction: only windows with the same one are compared."""
    return fingerprint_json([VERSION, [list_heading_variants(heading) for heading in headings]])


def _section_pattern(prompt: str, headings: Sequence[Heading]) -> str:
    """Use the recipe's wording of a heading: the text's own may contain PHI."""
    wanted = [name for heading in headings for name in list_heading_variants(heading)]
    sections = extract_section_texts(prompt, wanted, ())
    names = [list_heading_variants(heading)[0] for heading in headings if find_section(sections, heading) is not None]
    return " + ".join(names) or NO_HEADINGS


@dataclass(frozen=True)
class FeatureSums:
    """Sums over requests. With enough requests, which the gateway's setting defines, they reveal nothing about a single one."""

    requests: int = 0
    unread: int = 0
    """Requests that were answered without feature extraction, under load."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Feature → bin → requests."""
    refused: int = 0
    lookups: int = 0
    """Requests that used retrieval."""
    lookup_hits: int = 0

    def __add__(self, other: "FeatureSums") -> "FeatureSums":
        return FeatureSums(
            self.requests + other.requests,
            self.unread + other.unread,
            {
                name: Counter(self.counts.get(name, {})) + Counter(other.counts.get(name, {}))
                for name in BINNED_FEATURES
            },
            self.refused + other.refused,
            self.lookups + other.lookups,
            self.lookup_hits + other.lookup_hits,
        )


def sum_features(features: RequestFeatures) -> FeatureSums:
    return FeatureSums(
        requests=1,
        counts={name: {getattr(features, name): 1} for name in BINNED_FEATURES},
        refused=int(features.is_refused),
        lookups=int(features.has_passages is not None),
        lookup_hits=int(features.has_passages is True),
    )
