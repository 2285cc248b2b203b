"""What is kept of one request: lengths in steps, language, pattern of headings, whether it was refused; and of many together, as
counts. No word of any.

Owns the features and the one function that reads them, of users' requests and of training examples alike. Each is the name of
a bin; names come from here and from the recipe, never from the text.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fine_tune_assets.claims.sections import find_section, headings_of, section_texts
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.drift.languages import language_of
from fine_tune_assets.recipes.schema import Heading, Task

VERSION = 2
"""Raise it when the reading changes: windows that were read otherwise are then compared with nothing."""
LETTERS_READ = 32_000
COUNTED = ("prompt_words", "answer_words", "language", "sections")
"""Features with a bin for each request."""
NO_HEADINGS = "none"
_FORMS = (
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
_REFUSAL = re.compile("|".join(f"(?:{form})" for form in _FORMS), re.IGNORECASE)
"""How an answer begins that refuses: a patient who "cannot walk" does not."""
_STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True)
class Exchange:
    """A question and its answer, on their way to the features."""

    prompt: str
    """The user's last turn, as it was sent."""
    answer: str
    finish_reason: str | None = None
    has_passages: bool | None = None
    """Whether documents were found for it; None where none were looked for."""


@dataclass(frozen=True)
class RequestFeatures:
    prompt_words: str
    answer_words: str
    language: str
    sections: str
    is_refused: bool
    has_passages: bool | None


def features_of(exchange: Exchange, headings: Sequence[Heading]) -> RequestFeatures:
    prompt = exchange.prompt[:LETTERS_READ]
    return RequestFeatures(
        prompt_words=words_step(len(prompt.split())),
        answer_words=words_step(len(exchange.answer[:LETTERS_READ].split())),
        language=language_of(prompt),
        sections=_pattern(prompt, headings),
        is_refused=is_refusal(exchange.answer, exchange.finish_reason),
        has_passages=exchange.has_passages,
    )


def is_refusal(answer: str, finish_reason: str | None) -> bool:
    """Whether it is empty, filtered by the engine, or begins so. Calls of tools are an answer, though without a text.

    >>> is_refusal("I'm sorry, but I can't help with that.", None), is_refusal("Sprained ankle.", None)
    (True, False)
    """
    said = answer.strip()
    if not said:
        return finish_reason != "tool_calls"
    return finish_reason == "content_filter" or _REFUSAL.match(said) is not None


def words_step(words: int) -> str:
    """The step that a number of words falls into.

    >>> words_step(0), words_step(5), words_step(9000)
    ('0', '4-7', '2048+')
    """
    place = max(i for i, step in enumerate(_STEPS) if step <= words)
    if place == len(_STEPS) - 1:
        return f"{_STEPS[-1]}+"
    low, high = _STEPS[place], _STEPS[place + 1] - 1
    return str(low) if low == high else f"{low}-{high}"


def task_headings(tasks: Iterable[Task]) -> tuple[Heading, ...]:
    """Every heading that a task names, each once."""
    found: dict[Heading, None] = {}
    for task in tasks:
        found |= dict.fromkeys(task.used_headings)
    return tuple(found)


def reading_of(headings: Sequence[Heading]) -> str:
    """Fingerprint of how requests are read: only what was read alike is compared."""
    return fingerprint_json([VERSION, [headings_of(heading) for heading in headings]])


def _pattern(prompt: str, headings: Sequence[Heading]) -> str:
    """By the recipe's own words for a heading: what stands in the text may be a text's."""
    sections = section_texts(prompt, [name for heading in headings for name in headings_of(heading)])
    found = [headings_of(heading)[0] for heading in headings if find_section(sections, heading) is not None]
    return " + ".join(found) or NO_HEADINGS


@dataclass(frozen=True)
class FeatureSums:
    """It says nothing of one request once it is of enough of them: how many that is, is the gateway's setting."""

    requests: int = 0
    dropped: int = 0
    """Requests that were answered while there was no time to read them."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Feature → bin → requests."""
    refused: int = 0
    looked_up: int = 0
    """Requests for which documents were looked for."""
    found: int = 0

    def __add__(self, other: "FeatureSums") -> "FeatureSums":
        return FeatureSums(
            self.requests + other.requests,
            self.dropped + other.dropped,
            {name: Counter(self.counts.get(name, {})) + Counter(other.counts.get(name, {})) for name in COUNTED},
            self.refused + other.refused,
            self.looked_up + other.looked_up,
            self.found + other.found,
        )


def sums_of(features: RequestFeatures) -> FeatureSums:
    """Of one request."""
    return FeatureSums(
        requests=1,
        counts={name: {getattr(features, name): 1} for name in COUNTED},
        refused=int(features.is_refused),
        looked_up=int(features.has_passages is not None),
        found=int(features.has_passages is True),
    )
