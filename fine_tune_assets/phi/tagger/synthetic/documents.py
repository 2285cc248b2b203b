"""Made-up labelled documents: templates and real clinical prose, filled with invented identifiers.

Owns how a document is put together and that its labels are exact. Says nothing about how a tagger learns from it.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fine_tune_assets.phi.tagger.synthetic import telegraphic
from fine_tune_assets.phi.tagger.synthetic import templates as t
from fine_tune_assets.phi.tagger.synthetic.filling import Document, Labelled


@dataclass(frozen=True)
class Prose:
    """Real clinical prose without identifiers, whose sentences documents are filled up with."""

    sentences: Sequence[str]
    speech: Sequence[str]


def make_documents(count: int, prose: Prose, seed: int) -> Iterator[Labelled]:
    """`count` documents of mixed kinds; equal seeds make equal documents."""
    rng = random.Random(seed)
    kinds: list[tuple[Callable[[Document, Prose], None], int]] = [
        (_note, 34), (_form, 12), (_question, 16), (_clean_question, 8), (_speech, 14), (_prose_only, 16), (_short_note, 28),
    ]  # fmt: skip
    for _ in range(count):
        document = Document(rng.getrandbits(48))
        rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0](document, prose)
        yield _in_another_case(document.labelled(), rng)


def _note(d: Document, prose: Prose) -> None:
    if d.values.chance(0.5):
        _header(d)
    joint = d.values.pick((" ", " ", "\n", "\n\n"))
    for _ in range(d.values.rng.randint(3, 12)):
        roll = d.values.rng.random()
        if roll < 0.45:
            d.fill(d.values.pick(t.SENTENCES))
        elif roll < 0.7:
            d.fill(d.values.pick(t.CLEAN))
        else:
            d.add(d.values.pick(prose.sentences))
        d.add(joint)
    if d.values.chance(0.3):
        _header(d)


def _short_note(d: Document, prose: Prose) -> None:
    """Half of them hold no identifier: capitals, numbers and eponyms alone must not look like one."""
    share = d.values.pick((0.0, 0.0, 0.3, 0.6))
    if share and d.values.chance(0.3):
        _header(d)
    joint = d.values.pick((" ", "\n", "\n", "\n- "))
    for _ in range(d.values.rng.randint(3, 12)):
        if d.values.chance(0.12):
            d.add(d.values.pick(prose.sentences))
        else:
            d.fill(d.values.pick(telegraphic.SHORT_NOTES if d.values.chance(share) else telegraphic.SHORT_CLEAN))
        d.add(joint)


def _header(d: Document) -> None:
    lines = d.values.pick(t.HEADERS).split("|")
    joint = d.values.pick(("\n", "\n", "\n", "  ", "; ", " | "))
    for line in lines:
        d.fill(line)
        d.add(joint)
    d.add("\n")


def _form(d: Document, prose: Prose) -> None:
    for _ in range(d.values.rng.randint(1, 3)):
        _header(d)
        if d.values.chance(0.5):
            d.add(d.values.pick(prose.sentences) + "\n")


def _question(d: Document, _prose: Prose) -> None:
    d.fill(d.values.pick(t.QUESTIONS))
    if d.values.chance(0.2):
        d.add(" ")
        d.fill(d.values.pick(t.SENTENCES))


def _clean_question(d: Document, _prose: Prose) -> None:
    d.fill(d.values.pick(t.CLEAN_QUESTIONS if d.values.chance(0.7) else t.CLEAN))
    if d.values.chance(0.3):
        d.add(" ")
        d.fill(d.values.pick(t.CLEAN))


def _speech(d: Document, prose: Prose) -> None:
    joint = d.values.pick(("\n", " ", "\n"))
    for _ in range(d.values.rng.randint(2, 6)):
        if d.values.chance(0.5):
            d.fill(d.values.pick(t.SPEECH))
        else:
            d.add(d.values.pick(prose.speech))
        d.add(joint)


def _prose_only(d: Document, prose: Prose) -> None:
    source = prose.sentences if d.values.chance(0.6) else prose.speech
    for _ in range(d.values.rng.randint(3, 10)):
        d.add(d.values.pick(source) + d.values.pick((" ", "\n")))


def _in_another_case(document: Labelled, rng: random.Random) -> Labelled:
    """Now and then all lower case or all capitals: length, and so every offset, stays."""
    text, spans = document
    roll = rng.random()
    changed = text.lower() if roll < 0.08 else text.upper() if roll < 0.15 else text
    return (changed if len(changed) == len(text) else text), spans
