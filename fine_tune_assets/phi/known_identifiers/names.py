"""Finds in a text the names that are known: in any order, case, spelling and hyphenation.

Owns what beside a word decides whether it is the name. Does not know how a name was learned.
"""

# ruff: noqa: SIM905 (a list of words is easier to read, and to add to, as text)

import re
from collections.abc import Iterator, Sequence

from fine_tune_assets.phi.known_identifiers.stated_names import Care, NameIndex
from fine_tune_assets.phi.spans.folded_text import FoldedText, Word
from fine_tune_assets.phi.spans.spans import Offsets
from fine_tune_assets.phi.spans.word_lists import (
    ABBREVIATIONS,
    BODY_HEADINGS,
    DOTTED_ABBREVIATIONS,
    EPONYM_NOUN,
    EPONYMS,
    HEADING_WORDS,
    PARTICLES,
    SPOKEN_TITLES,
    TITLES,
)

_LINK = re.compile(r",?\s{0,3}|\s?-\s{0,2}|\^{1,2}|_|/|,?\s?[(\"]|[)\"],?\s?|\.\s{0,2}")
_AFTER_INITIAL = re.compile(r"\.?[\s,-]{0,2}|\^")
_BROKEN = re.compile(r"-[ \t]*\r?\n[ \t]*|-")
_TITLE_GAP = re.compile(r"\.?\s{1,3}")
_EPONYM = re.compile(rf"(?:'[sS]?)?(?:[-/ ][A-Z]\w+)?[\s-]{{1,3}}(?i:{EPONYM_NOUN})\b")
_COLON = re.compile(r"[ \t]*:")
_DOTTED = re.compile(r"[A-Z]\.[ ]?(?:[A-Z]\.[ ]?){0,2}[A-Z](?:\.|(?!\w))")
_FEWEST_DICTATED_WORDS = 5
_BODY_HEADINGS = HEADING_WORDS | BODY_HEADINGS


class _Reading:
    """One text, and which of its words may belong to a name."""

    def __init__(self, text: FoldedText, index: NameIndex) -> None:
        self.text, self.index = text, index
        self.folded, self.word, self.gap = text.folded, text.word, text.gap
        self.touched = sorted(place for key in index.care.keys() & text.places.keys() for place in text.places[key])

    def __len__(self) -> int:
        return len(self.text)

    def care(self, at: int) -> Care | None:
        return self.index.care.get(self.text.keys[at])

    def are_linked(self, left: int) -> bool:
        return 0 <= left < len(self) - 1 and _LINK.fullmatch(self.gap(left)) is not None

    def owners(self, at: int) -> set[int]:
        return self.index.owners.get(self.text.keys[at], set())


def find_names(text: FoldedText, index: NameIndex) -> list[Offsets]:
    """Offsets of every place of the names; words that belong together on one line are one finding."""
    reading = _Reading(text, index)
    hits = {at for at in reading.touched if _is_certain(reading, at)}
    hits |= _beside(reading, hits)
    hits |= _in_speech(reading, hits)
    hits |= _joined(reading)
    hits |= _initials(reading, hits)
    return [*_grouped(reading, sorted(hits)), *_monograms(text, index)]


def _is_certain(reading: _Reading, at: int) -> bool:
    word = reading.word(at)
    care = reading.index.care[word.key]
    if care == Care.BESIDE:
        return False
    if is_titled(reading.text, at):
        return True
    if word.key in EPONYMS and _EPONYM.match(
        reading.folded, word.end - (2 if word.written.lower().endswith("'s") else 0)
    ):
        return False
    if care == Care.ANY:
        return True
    if not word.written[0].isupper() or _is_heading(reading.folded, word):
        return False
    if care == Care.CAPITAL:
        return not (word.written.isupper() and _is_dictated_in_capitals(reading.folded, word.start))
    is_title_case = not word.written.isupper() or (len(word.key) > 2 and word.key.upper() not in ABBREVIATIONS)
    return is_title_case and (care == Care.TITLE_CASE or is_within_sentence(reading.folded, word.start))


def _is_dictated_in_capitals(folded: str, start: int) -> bool:
    """On a line that is all in capitals, capitals say nothing; a short one may be a header."""
    begin, end = folded.rfind("\n", 0, start) + 1, folded.find("\n", start)
    line = folded[begin : end if end >= 0 else len(folded)]
    return line.isupper() and len(line.split()) >= _FEWEST_DICTATED_WORDS


def is_titled(text: FoldedText, at: int) -> bool:
    """After Mr. or Dr.; in lower case, a word that may be any word isn't taken after "the doctor"."""
    if at == 0 or text.keys[at - 1] not in TITLES or not _TITLE_GAP.fullmatch(text.gap(at - 1)):
        return False
    if text.word(at).written[0].isupper():
        return True
    is_person = text.keys[at - 1] not in SPOKEN_TITLES or (at < 2 or text.keys[at - 2] not in _DETERMINERS)
    return is_person and text.keys[at] not in _VERBS


_DETERMINERS = frozenset("the a an any your my our his her their this that another each every which what".split())
_VERBS = frozenset(
    """will may can had has have was is are and any for who would to do so not the he she it wants wait walk told said saw
    like love in on or if by you""".split()
)


def is_within_sentence(folded: str, start: int) -> bool:
    """Between words of the same sentence: there only a name is capitalised."""
    before = folded[max(0, start - 3) : start]
    if "\n" in before or not re.search(r"[\w,;)'\"][ ]?[(\"']?$", before):
        return False
    line = folded[folded.rfind("\n", 0, start) + 1 : start]
    return any(c.islower() for c in line)


def _is_heading(folded: str, word: Word) -> bool:
    """HEART: or FAMILY HISTORY at the beginning of a line."""
    if word.written.upper() not in _BODY_HEADINGS:
        return False
    begins = not folded[folded.rfind("\n", 0, word.start) + 1 : word.start].strip(" \t-*•#")
    return _COLON.match(folded, word.end) is not None or (begins and word.written.isupper())


def _beside(reading: _Reading, hits: set[int]) -> set[int]:
    """Words that are a part of the name only beside a certain one: van, de, and NG in JOHN NG."""
    found: set[int] = set()
    for order in (reading.touched, reading.touched[::-1]):
        for at in order:
            if at in hits or at in found:
                continue
            for other, left in ((at - 1, at - 1), (at + 1, at)):
                if (other in hits or other in found) and reading.are_linked(left) and _extends(reading, at, other):
                    found.add(at)
    return found


def _extends(reading: _Reading, at: int, other: int) -> bool:
    shared = reading.owners(at) & reading.owners(other)
    if not shared or reading.text.keys[at] == reading.text.keys[other]:
        return False
    word, care = reading.word(at), reading.care(at)
    if word.key in PARTICLES or care == Care.TITLE_CASE:
        return True
    in_order = any(_in_order(reading, at, other, owner) for owner in shared)
    if word.written.isupper() and _is_dictated_in_capitals(reading.folded, word.start):
        return in_order or "," in reading.gap(min(at, other))
    return word.written[0].isupper() or (reading.word(other).written.islower() and in_order)


def _in_order(reading: _Reading, at: int, other: int, owner: int) -> bool:
    first, second = sorted((at, other))
    position = reading.index.position
    return 0 <= position(reading.text.keys[first], owner) < position(reading.text.keys[second], owner)


def _in_speech(reading: _Reading, hits: set[int]) -> set[int]:
    """Two ordinary words in lower case that together are the whole name, as in "will long was seen"."""
    found: set[int] = set()
    for at in reading.touched:
        after = at + 1
        if at in hits or after >= len(reading) or after in hits or not reading.are_linked(at):
            continue
        for owner in reading.owners(at) & reading.owners(after):
            places = [reading.index.position(reading.text.keys[n], owner) for n in (at, after)]
            name = reading.index.names[owner]
            is_whole = places[0] < places[1] and places in ([0, len(name.words) - 1], [0, len(name.given)])
            if is_whole and Care.BESIDE not in (reading.care(at), reading.care(after)):
                found |= {at, after}
    return found


def _joined(reading: _Reading) -> set[int]:
    """Two words that together are one of the name: Mc Donald, Smith-Jones for SmithJones, Quix- at a line's end."""
    found: set[int] = set()
    for head in reading.index.heads & reading.text.places.keys():
        for at in reading.text.places[head]:
            if at + 1 < len(reading) and head + reading.text.keys[at + 1] in reading.index.joined:
                written = (reading.word(at).written, reading.word(at + 1).written)
                is_new = head not in reading.index.care or reading.care(at + 1) is None
                is_named = is_new and reading.gap(at) == " " and all(word[0].isupper() for word in written)
                if is_named or _BROKEN.fullmatch(reading.gap(at)):
                    found |= {at, at + 1}
    return found


def _initials(reading: _Reading, hits: set[int]) -> set[int]:
    """Single letters of the same name beside it: the J of J. Doe, the A of Doe, John A."""
    found: set[int] = set()
    for hit in hits:
        owners = reading.owners(hit) or set(range(len(reading.index.names)))
        letters = set[str]().union(*(reading.index.initials[owner] for owner in owners))
        for step in (-1, 1):
            at = hit + step
            while 0 <= at < len(reading) and at not in hits and _is_initial(reading, at, step, letters, hits):
                found.add(at)
                at += step
    return found


def _is_initial(reading: _Reading, at: int, step: int, letters: set[str], hits: set[int]) -> bool:
    word, gap = reading.word(at), reading.gap(at if step < 0 else at - 1)
    if not _AFTER_INITIAL.fullmatch(gap):
        return False
    if len(word.key) > 1:  # TJ Doe
        return step < 0 and gap == " " and any(m[:-1] == word.written for m in reading.index.monograms)
    if word.key not in letters:
        return False
    if {at - 1, at + 1} <= hits or gap == "^":
        return True
    has_dot = reading.folded[word.end : word.end + 1] == "."
    if step > 0 and gap.startswith(".") and len(reading.text.keys[at - 1]) > 1:
        return False  # "John Doe. A scan": the next sentence
    return has_dot or (word.key not in "ai" and (step < 0 or word.written.isupper()))


def _grouped(reading: _Reading, hits: Sequence[int]) -> Iterator[Offsets]:
    groups: list[list[int]] = []
    for at in hits:
        if groups and groups[-1][-1] == at - 1 and _is_one(reading, groups[-1], at):
            groups[-1].append(at)
        else:
            groups.append([at])
    for group in groups:
        start, end = reading.word(group[0]).start, reading.word(group[-1]).end
        is_initial = len(reading.word(group[-1]).key) == 1 and reading.folded[end : end + 1] == "."
        yield start, end + 1 if is_initial else end


def _is_one(reading: _Reading, group: Sequence[int], at: int) -> bool:
    """Whether the word goes on with a name: on the same line, and not the same word again, as in a list of names."""
    gap = reading.gap(at - 1)
    if "\n" in gap:
        return _BROKEN.fullmatch(gap) is not None
    if not reading.are_linked(at - 1) or ("." in gap and len(reading.text.keys[at - 1]) > 1):
        return False
    is_list = "," in gap or "/" in gap
    return not (is_list and any(reading.text.keys[n] == reading.text.keys[at] for n in group))


def _monograms(text: FoldedText, index: NameIndex) -> Iterator[Offsets]:
    """JD and J.D., in capitals."""
    for monogram in index.monograms - ABBREVIATIONS:
        words = (text.word(place) for place in text.places.get(monogram.lower(), ()))
        yield from (word[:2] for word in words if word.written == monogram and _is_apart(text.folded, *word[:2]))
    for letter in {monogram[0].lower() for monogram in index.monograms} & text.places.keys():
        for place in text.places[letter]:
            match = _DOTTED.match(text.folded, text.word(place).start)
            letters = re.sub("[. ]", "", match[0]) if match else ""
            if match and letters in index.monograms - DOTTED_ABBREVIATIONS and _is_apart(text.folded, *match.span()):
                yield match.span()


def _is_apart(folded: str, start: int, end: int) -> bool:
    """No part of a longer abbreviation, code or fraction."""
    return not re.search(r"[\w./'-]$", folded[max(0, start - 1) : start]) and not re.match(
        r"[\w/'-]|\.\w", folded[end : end + 2]
    )
