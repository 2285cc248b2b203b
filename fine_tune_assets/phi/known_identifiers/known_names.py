"""Finds known names in a text: in any order, case, spelling and hyphenation.

The words around a match decide whether it is the name or an ordinary word.
"""

# ruff: noqa: SIM905 (a list of words is easier to read, and to add to, as text)

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.known_identifiers.stated_names import MatchPolicy, NameIndex
from fine_tune_assets.phi.spans.folded_text import FoldedText, Word
from fine_tune_assets.phi.spans.identifier_words import (
    ABBREVIATIONS,
    DOTTED_ABBREVIATIONS,
    PARTICLES,
    SPOKEN_TITLES,
    TITLES,
)
from fine_tune_assets.phi.spans.spans import Offsets

_NAME_GAP = re.compile(r",?\s{0,3}|\s?-\s{0,2}|\^{1,2}|_|/|,?\s?[(\"]|[)\"],?\s?|\.\s{0,2}")
_INITIAL_GAP = re.compile(r"\.?[\s,-]{0,2}|\^")
_HYPHENATION = re.compile(r"-[ \t]*\r?\n[ \t]*|-")
_TITLE_GAP = re.compile(r"\.?\s{1,3}")
_COLON = compile_bounded(r"[ \t]*:")
_DOTTED = re.compile(r"[A-Z]\.[ ]?(?:[A-Z]\.[ ]?){0,2}[A-Z](?:\.|(?!\w))")
_MIN_DICTATED_WORDS = 5
_MAX_LINE = 1_000


class _NameSearch:
    """A text with its words that may belong to a name."""

    def __init__(self, text: FoldedText, index: NameIndex) -> None:
        self.text, self.index = text, index
        self.vocabulary = index.vocabulary
        self.folded, self.word, self.gap = text.folded, text.word, text.gap
        self.candidates = sorted(
            place for key in index.policies.keys() & text.positions.keys() for place in text.positions[key]
        )

    def __len__(self) -> int:
        return len(self.text)

    def policy(self, at: int) -> MatchPolicy | None:
        return self.index.policies.get(self.text.keys[at])

    def is_linked(self, left: int) -> bool:
        return 0 <= left < len(self) - 1 and _NAME_GAP.fullmatch(self.gap(left)) is not None

    def find_owners(self, at: int) -> set[int]:
        return self.index.owners.get(self.text.keys[at], set())


def find_names(text: FoldedText, index: NameIndex) -> list[Offsets]:
    """Offsets of every occurrence of the names; adjacent words of one name on a line form one span."""
    reading = _NameSearch(text, index)
    hits = {at for at in reading.candidates if _is_name_by_itself(reading, at)}
    hits |= _find_adjacent(reading, hits)
    hits |= _find_lowercase_names(reading, hits)
    hits |= _find_split_words(reading)
    hits |= _find_initials(reading, hits)
    return [*_group_words(reading, sorted(hits)), *_find_monograms(text, index)]


def _is_name_by_itself(reading: _NameSearch, at: int) -> bool:
    word = reading.word(at)
    policy = reading.index.policies[word.key]
    if policy == MatchPolicy.ADJACENT:
        return False
    if is_after_title(reading.text, at):
        return True
    if word.key in reading.vocabulary.eponyms and _compile_term(reading.vocabulary.eponym_noun).match(
        reading.folded, word.end - (2 if word.surface.lower().endswith("'s") else 0)
    ):
        return False
    if policy == MatchPolicy.ANY_CASE:
        return True
    if not word.surface[0].isupper() or _is_heading(reading, word):
        return False
    if policy == MatchPolicy.CAPITALISED:
        return not (word.surface.isupper() and _is_dictated_in_capitals(reading.folded, word.start))
    is_title_case = not word.surface.isupper() or (len(word.key) > 2 and word.key.upper() not in ABBREVIATIONS)
    return is_title_case and (policy == MatchPolicy.TITLE_CASE or is_mid_sentence(reading.folded, word.start))


@lru_cache
def _compile_term(eponym_noun: str) -> re.Pattern[str]:
    """What follows a person in a term that is named after them."""
    return re.compile(rf"(?:'[sS]?)?(?:[-/ ][A-Z]\w+)?[\s-]{{1,3}}(?i:{eponym_noun})\b")


def _is_dictated_in_capitals(folded: str, start: int) -> bool:
    """Whether the line is all in capitals, so that capitals carry no information. A short line may be a header."""
    end = folded.find("\n", start, start + _MAX_LINE)
    line = folded[_find_line_start(folded, start) : end if end >= 0 else start + _MAX_LINE]
    return line.isupper() and len(line.split()) >= _MIN_DICTATED_WORDS


def is_after_title(text: FoldedText, at: int) -> bool:
    """Whether the word follows a title; a lower-case word that may be any word does not count after "the doctor"."""
    if at == 0 or text.keys[at - 1] not in TITLES or not _TITLE_GAP.fullmatch(text.gap(at - 1)):
        return False
    if text.word(at).surface[0].isupper():
        return True
    is_person = text.keys[at - 1] not in SPOKEN_TITLES or (at < 2 or text.keys[at - 2] not in _DETERMINERS)
    return is_person and text.keys[at] not in _VERBS


_DETERMINERS = frozenset("the a an any your my our his her their this that another each every which what".split())
_VERBS = frozenset(
    """will may can had has have was is are and any for who would to do so not the he she it wants wait walk told said saw
    like love in on or if by you""".split()
)


def is_mid_sentence(folded: str, start: int) -> bool:
    """Whether the word is inside a sentence, where only names are capitalised."""
    before = folded[max(0, start - 3) : start]
    if "\n" in before or not re.search(r"[\w,;)'\"][ ]?[(\"']?$", before):
        return False
    return any(c.islower() for c in folded[_find_line_start(folded, start) : start])


def _find_line_start(folded: str, at: int) -> int:
    """Start of the line; of a long line, only the part nearby is read."""
    nearby = max(0, at - _MAX_LINE)
    return max(nearby, folded.rfind("\n", nearby, at) + 1)


def _is_heading(reading: _NameSearch, word: Word) -> bool:
    """Whether the word is a heading at the start of a line: HEART: or FAMILY HISTORY."""
    folded, surface = reading.folded, word.surface.upper()
    if surface not in reading.vocabulary.heading_words and surface not in reading.vocabulary.body_headings:
        return False
    begins = not folded[_find_line_start(folded, word.start) : word.start].strip(" \t-*•#")
    return _COLON.match(folded, word.end) is not None or (begins and word.surface.isupper())


def _find_adjacent(reading: _NameSearch, hits: set[int]) -> set[int]:
    """Words that belong to the name only next to a certain one: van, de, and NG in JOHN NG."""
    found: set[int] = set()
    for order in (reading.candidates, reading.candidates[::-1]):
        for at in order:
            if at in hits or at in found:
                continue
            for other, left in ((at - 1, at - 1), (at + 1, at)):
                if (other in hits or other in found) and reading.is_linked(left) and _is_extension(reading, at, other):
                    found.add(at)
    return found


def _is_extension(reading: _NameSearch, at: int, other: int) -> bool:
    shared = reading.find_owners(at) & reading.find_owners(other)
    if not shared or reading.text.keys[at] == reading.text.keys[other]:
        return False
    word, policy = reading.word(at), reading.policy(at)
    if word.key in PARTICLES or policy == MatchPolicy.TITLE_CASE:
        return True
    in_order = any(_is_in_order(reading, at, other, owner) for owner in shared)
    if word.surface.isupper() and _is_dictated_in_capitals(reading.folded, word.start):
        return in_order or "," in reading.gap(min(at, other))
    return word.surface[0].isupper() or (reading.word(other).surface.islower() and in_order)


def _is_in_order(reading: _NameSearch, at: int, other: int, owner: int) -> bool:
    first, second = sorted((at, other))
    position = reading.index.find_position
    return 0 <= position(reading.text.keys[first], owner) < position(reading.text.keys[second], owner)


def _find_lowercase_names(reading: _NameSearch, hits: set[int]) -> set[int]:
    """Two ordinary words in lower case that form the whole name, as in "will long was seen"."""
    found: set[int] = set()
    for at in reading.candidates:
        after = at + 1
        if at in hits or after >= len(reading) or after in hits or not reading.is_linked(at):
            continue
        for owner in reading.find_owners(at) & reading.find_owners(after):
            places = [reading.index.find_position(reading.text.keys[n], owner) for n in (at, after)]
            name = reading.index.names[owner]
            is_whole = places[0] < places[1] and places in ([0, len(name.words) - 1], [0, len(name.given)])
            if is_whole and MatchPolicy.ADJACENT not in (reading.policy(at), reading.policy(after)):
                found |= {at, after}
    return found


def _find_split_words(reading: _NameSearch) -> set[int]:
    """Two words that form one word of the name: Mc Donald, Smith-Jones for SmithJones, Quix- at a line's end."""
    found: set[int] = set()
    for head in reading.index.joined_prefixes & reading.text.positions.keys():
        for at in reading.text.positions[head]:
            if at + 1 < len(reading) and head + reading.text.keys[at + 1] in reading.index.joined_words:
                written = (reading.word(at).surface, reading.word(at + 1).surface)
                is_new = head not in reading.index.policies or reading.policy(at + 1) is None
                is_named = is_new and reading.gap(at) == " " and all(word[0].isupper() for word in written)
                if is_named or _HYPHENATION.fullmatch(reading.gap(at)):
                    found |= {at, at + 1}
    return found


def _find_initials(reading: _NameSearch, hits: set[int]) -> set[int]:
    """Initials of the same name next to a match: the J of J. Doe, the A of Doe, John A."""
    found: set[int] = set()
    for hit in hits:
        owners = reading.find_owners(hit) or set(range(len(reading.index.names)))
        letters = set[str]().union(*(reading.index.initials[owner] for owner in owners))
        for step in (-1, 1):
            at = hit + step
            while 0 <= at < len(reading) and at not in hits and _is_initial(reading, at, step, letters, hits):
                found.add(at)
                at += step
    return found


def _is_initial(reading: _NameSearch, at: int, step: int, letters: set[str], hits: set[int]) -> bool:
    word, gap = reading.word(at), reading.gap(at if step < 0 else at - 1)
    if not _INITIAL_GAP.fullmatch(gap):
        return False
    if len(word.key) > 1:  # TJ Doe
        return step < 0 and gap == " " and any(m[:-1] == word.surface for m in reading.index.monograms)
    if word.key not in letters:
        return False
    if {at - 1, at + 1} <= hits or gap == "^":
        return True
    has_dot = reading.folded[word.end : word.end + 1] == "."
    if step > 0 and gap.startswith(".") and len(reading.text.keys[at - 1]) > 1:
        return False  # "John Doe. A scan": the next sentence
    return has_dot or (word.key not in "ai" and (step < 0 or word.surface.isupper()))


def _group_words(reading: _NameSearch, hits: Sequence[int]) -> Iterator[Offsets]:
    groups: list[list[int]] = []
    for at in hits:
        if groups and groups[-1][-1] == at - 1 and _is_same_name(reading, groups[-1], at):
            groups[-1].append(at)
        else:
            groups.append([at])
    for group in groups:
        start, end = reading.word(group[0]).start, reading.word(group[-1]).end
        is_initial = len(reading.word(group[-1]).key) == 1 and reading.folded[end : end + 1] == "."
        yield start, end + 1 if is_initial else end


def _is_same_name(reading: _NameSearch, group: Sequence[int], at: int) -> bool:
    """Whether the word continues the name: on the same line, and not a repetition, as in a list of names."""
    gap = reading.gap(at - 1)
    if "\n" in gap:
        return _HYPHENATION.fullmatch(gap) is not None
    if not reading.is_linked(at - 1) or ("." in gap and len(reading.text.keys[at - 1]) > 1):
        return False
    is_list = "," in gap or "/" in gap
    return not (is_list and any(reading.text.keys[n] == reading.text.keys[at] for n in group))


def _find_monograms(text: FoldedText, index: NameIndex) -> Iterator[Offsets]:
    """Find initials in capitals: JD and J.D."""
    for monogram in index.monograms - ABBREVIATIONS:
        words = (text.word(place) for place in text.positions.get(monogram.lower(), ()))
        yield from (word[:2] for word in words if word.surface == monogram and _is_standalone(text.folded, *word[:2]))
    for letter in {monogram[0].lower() for monogram in index.monograms} & text.positions.keys():
        for place in text.positions[letter]:
            match = _DOTTED.match(text.folded, text.word(place).start)
            letters = re.sub("[. ]", "", match[0]) if match else ""
            if (
                match
                and letters in index.monograms - DOTTED_ABBREVIATIONS
                and _is_standalone(text.folded, *match.span())
            ):
                yield match.span()


def _is_standalone(folded: str, start: int, end: int) -> bool:
    """Whether it is not part of a longer abbreviation, code or fraction."""
    return not re.search(r"[\w./'-]$", folded[max(0, start - 1) : start]) and not re.match(
        r"[\w/'-]|\.\w", folded[end : end + 2]
    )
