"""What the tagger learns from: made-up documents, labelled sets with other identifiers put in, and clinical prose.

Owns the mix and the replanting. Reads labelled reports in the gold form (`text`, `spans`) and knows no tokenizer.
"""

import gzip
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.phi.spans.spans import Offsets, places_after, substitute
from fine_tune_assets.phi.tagger.labels import UNKNOWN, own_label
from fine_tune_assets.phi.tagger_training.synthetic.documents import Labelled, Prose, make_documents
from fine_tune_assets.phi.tagger_training.synthetic.values import PLACES, Values

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_PROSE = "clinical_prose"
_CARE_SITE = re.compile(
    "|".join(map(re.escape, sorted({*PLACES["site_kinds"], *PLACES["care_sites"]}, key=len, reverse=True))), re.I
)


@dataclass(frozen=True)
class Corpora:
    """Labelled documents by the name of their set, and the prose that made-up documents are filled up with."""

    labelled: Mapping[str, Sequence[Labelled]]
    prose: Prose
    whole_prose: Sequence[Labelled]


class CorporaMissingError(FineTuneError):
    """There is nothing that a tagger could learn from."""


def read_corpora(folder: Path) -> Corpora:
    """Raises CorporaMissingError without clinical prose: made-up sentences alone teach a tagger to find templates."""
    labelled: dict[str, list[Labelled]] = {}
    kinds: list[str] = []
    for path in sorted(folder.glob("*.jsonl.gz")):
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]
        labelled[path.name.removesuffix(".jsonl.gz")] = [
            (row["text"], [(s["start"], s["end"], s["label"]) for s in row["spans"]]) for row in rows
        ]
        if path.name.startswith(_PROSE):
            kinds = [row["kind"] for row in rows]
    whole = labelled.pop(_PROSE, [])
    notes = [document for document, kind in zip(whole, kinds, strict=True) if kind == "note"]
    speech = [document for document, kind in zip(whole, kinds, strict=True) if kind == "speech"]
    prose = Prose(
        [s for document in notes for s in _clean_parts(document, _SENTENCE_END)],
        [s for document in speech for s in _clean_parts(document, re.compile(r"\n"))],
    )
    if not (prose.sentences and prose.speech):
        raise CorporaMissingError(
            f"There is no {_PROSE}.jsonl.gz with notes and speech in {folder}. Copy it from data/tagger_training."
        )
    return Corpora(labelled, prose, whole)


def _clean_parts(document: Labelled, separator: re.Pattern[str]) -> Iterator[str]:
    """Sentences or turns in which nothing is labelled and nothing doubtful."""
    text, spans = document
    at = 0
    for end in [*(m.start() for m in separator.finditer(text)), len(text)]:
        part = text[at:end].strip()
        if 15 < len(part) < 400 and not any(s < end and e > at for s, e, _ in spans):
            yield part
        at = end


def pools(corpora: Corpora, made_up: int, seed: int) -> Iterator[list[Labelled]]:
    """Endless pools of documents: `made_up` invented ones each, and beside them the labelled sets, replanted."""
    rng = random.Random(seed)
    while True:
        pool = list(make_documents(made_up, corpora.prose, rng.getrandbits(32)))
        for name, documents in corpora.labelled.items():
            share = _SHARES.get(name, 0.1)
            chosen = rng.sample(list(documents), min(len(documents), int(made_up * share)))
            pool += [replanted(d, rng.getrandbits(32)) if rng.random() < 0.6 else d for d in chosen]
        whole = rng.sample(list(corpora.whole_prose), min(len(corpora.whole_prose), int(made_up * 0.16)))
        pool += [replanted(d, rng.getrandbits(32)) if rng.random() < 0.7 else d for d in whole]
        yield pool


_SHARES = {"asq_phi": 0.12, "outis_base": 0.05, "outis_coverage": 0.03, "outis_train": 0.12, "presidio_research": 0.1}


def replanted(document: Labelled, seed: int) -> Labelled:
    """The document with other identifiers of the same kinds. Equal names stay equal, part by part."""
    text, spans = document
    values = Values(seed)
    people: dict[str, str] = {}
    pieces: list[tuple[Offsets, str]] = []
    labels: list[str] = []
    for start, end, label in sorted(spans):
        if not pieces or start >= pieces[-1][0][1]:
            old = text[start:end]
            new = _value(values, own_label(label), old, people) if own_label(label) != UNKNOWN else old
            pieces.append(((start, end), new))
            labels.append(label)
    moved = [(*place, label) for place, label in zip(places_after(pieces), labels, strict=True)]
    return substitute(text, pieces), moved


def _value(values: Values, label: str, old: str, people: dict[str, str]) -> str:
    if label == "NAME":
        return re.sub(r"[^\W\d_][\w'’]*", lambda m: _name_part(values, m[0], people), old)
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


def _name_part(values: Values, old: str, people: dict[str, str]) -> str:
    if old.lower().rstrip(".") in {"dr", "mr", "mrs", "ms", "doctor", "jr", "sr", "ii", "iii", "md", "of", "de", "la"}:
        return old
    if old.lower() not in people:
        person = values.person()
        people[old.lower()] = values.pick(person.first, person.last).split()[0]
    new = people[old.lower()]
    if len(old) == 1:
        return new[0].upper() if old.isupper() else new[0].lower()
    return new.lower() if old.islower() else new.upper() if old.isupper() else new
