"""Training documents for the tagger: synthetic ones, labelled sets with new identifiers, and clinical prose.

Labelled reports are read in the gold format (`text`, `spans`).
"""

import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.phi.spans.spans import Offsets, locate_replacements, substitute
from fine_tune_assets.phi.tagger.labels import UNKNOWN, map_label
from fine_tune_assets.phi.tagger_training.synthetic.synthetic_documents import LabelledText, Prose, make_documents
from fine_tune_assets.phi.tagger_training.synthetic.synthetic_values import PLACES, SyntheticValues

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_PROSE = "clinical_prose"
_CARE_SITE = re.compile(
    "|".join(map(re.escape, sorted({*PLACES["site_kinds"], *PLACES["care_sites"]}, key=len, reverse=True))), re.I
)


@dataclass(frozen=True)
class Corpora:
    """Labelled documents by data set, and clinical prose that fills synthetic documents."""

    labelled: Mapping[str, Sequence[LabelledText]]
    prose: Prose
    prose_documents: Sequence[LabelledText]


class MissingCorporaError(FineTuneError):
    """The training corpora are missing."""


def read_corpora(folder: Path) -> Corpora:
    """Read all corpora. Raises MissingCorporaError without clinical prose: synthetic text alone teaches a tagger templates."""
    labelled: dict[str, list[LabelledText]] = {}
    kinds: list[str] = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]
        labelled[path.name.removesuffix(".jsonl.gz")] = [
            (row["text"], [(s["start"], s["end"], s["label"]) for s in row["spans"]]) for row in rows
        ]
        if path.name.startswith(_PROSE):
            kinds = [row["kind"] for row in rows]
    prose_documents = labelled.pop(_PROSE, [])
    notes = [document for document, kind in zip(prose_documents, kinds, strict=True) if kind == "note"]
    speech = [document for document, kind in zip(prose_documents, kinds, strict=True) if kind == "speech"]
    prose = Prose(
        [s for document in notes for s in _find_clean_parts(document, _SENTENCE_END)],
        [s for document in speech for s in _find_clean_parts(document, re.compile(r"\n"))],
    )
    if not (prose.sentences and prose.speech):
        raise MissingCorporaError(
            f"{folder} has no {_PROSE}.jsonl.gz with notes and speech. Copy it from data/tagger_training."
        )
    return Corpora(labelled, prose, prose_documents)


def _find_clean_parts(document: LabelledText, separator: re.Pattern[str]) -> Iterator[str]:
    """Sentences or turns without labels, including UNKNOWN ones."""
    text, spans = document
    at = 0
    for end in [*(m.start() for m in separator.finditer(text)), len(text)]:
        part = text[at:end].strip()
        if 15 < len(part) < 400 and not any(s < end and e > at for s, e, _ in spans):
            yield part
        at = end


def draw_pools(corpora: Corpora, synthetic_count: int, seed: int) -> Iterator[list[LabelledText]]:
    """Endless pools of documents: `synthetic_count` synthetic ones each, plus a sample of the labelled sets, replanted.

    Sets other than the bundled ones also exchange addresses, numbers and organizations among themselves, because the generator's
    forms are clinical and mostly American.
    """
    rng = random.Random(seed)
    own = _collect_values(documents for name, documents in corpora.labelled.items() if name not in _SAMPLING_SHARES)
    while True:
        pool = list(make_documents(synthetic_count, corpora.prose, rng.getrandbits(32)))
        for name, documents in corpora.labelled.items():
            share = _SAMPLING_SHARES.get(name, 0.1)
            chosen = rng.sample(list(documents), min(len(documents), int(synthetic_count * share)))
            known = {} if name in _SAMPLING_SHARES else own
            pool += [replant_identifiers(d, rng.getrandbits(32), known) if rng.random() < 0.6 else d for d in chosen]
        clinical = rng.sample(
            list(corpora.prose_documents), min(len(corpora.prose_documents), int(synthetic_count * 0.16))
        )
        pool += [replant_identifiers(d, rng.getrandbits(32), {}) if rng.random() < 0.7 else d for d in clinical]
        yield pool


_SAMPLING_SHARES = {
    "asq_phi": 0.12,
    "outis_base": 0.05,
    "outis_coverage": 0.03,
    "outis_train": 0.12,
    "presidio_research": 0.1,
}


_EXCHANGED_LABELS = frozenset({"ADDRESS", "FACILITY", "PHONE", "EMAIL", "ACCOUNT", "ID"})
_EXCHANGED_SHARE = 0.6


def _collect_values(sets: Iterable[Sequence[LabelledText]]) -> dict[str, list[str]]:
    """Label → the identifiers of the documents that may take each other's place."""
    values: dict[str, list[str]] = defaultdict(list)
    for text, spans in (document for documents in sets for document in documents):
        for start, end, label in spans:
            if (own := map_label(label)) in _EXCHANGED_LABELS:
                values[own].append(text[start:end])
    return values


def replant_identifiers(document: LabelledText, seed: int, known: Mapping[str, Sequence[str]]) -> LabelledText:
    """The document with other identifiers of the same kinds. Equal names stay equal, part by part.

    `known`: label → identifiers of similar documents, which are drawn more often than generated ones.
    """
    text, spans = document
    values = SyntheticValues(seed)
    people: dict[str, str] = {}
    pieces: list[tuple[Offsets, str]] = []
    labels: list[str] = []
    for start, end, label in sorted(spans):
        if not pieces or start >= pieces[-1][0][1]:
            old = text[start:end]
            new = old if (own := map_label(label)) == UNKNOWN else _draw_value(values, own, old, people, known)
            pieces.append(((start, end), new))
            labels.append(label)
    moved = [(*place, label) for place, label in zip(locate_replacements(pieces), labels, strict=True)]
    return substitute(text, pieces), moved


def _draw_value(
    values: SyntheticValues, label: str, old: str, people: dict[str, str], known: Mapping[str, Sequence[str]]
) -> str:
    if known.get(label) and values.chance(_EXCHANGED_SHARE):
        return values.pick(*known[label])
    if label == "NAME":
        return re.sub(r"[^\W\d_][\w'’]*", lambda m: _draw_name_part(values, m[0], people), old)
    draw = {
        "DATE": values.date, "AGE": values.old_age, "ADDRESS": values.address, "FACILITY": values.facility,
        "PHONE": values.phone, "EMAIL": values.email, "URL": values.url, "IP": values.ip, "SSN": values.ssn,
        "MRN": values.code, "ACCOUNT": values.account, "ID": values.code,
    }.get(label)  # fmt: skip
    if label == "LOCATION":
        return (
            values.zip_code() if old[:1].isdigit() else values.facility() if _CARE_SITE.search(old) else values.place()
        )
    return draw() if draw else old


def _draw_name_part(values: SyntheticValues, old: str, people: dict[str, str]) -> str:
    if old.lower().rstrip(".") in {"dr", "mr", "mrs", "ms", "doctor", "jr", "sr", "ii", "iii", "md", "of", "de", "la"}:
        return old
    if old.lower() not in people:
        person = values.person()
        people[old.lower()] = values.pick(person.first, person.last).split()[0]
    new = people[old.lower()]
    if len(old) == 1:
        return new[0].upper() if old.isupper() else new[0].lower()
    return new.lower() if old.islower() else new.upper() if old.isupper() else new
