"""Makes the corpora that the tagger learns from and the labelled sets that measure the scrubber.

    python benchmarks/tagger_corpora/make.py SOURCES OUTIS_TRAIN.jsonl... --training DIR --evaluation DIR

SOURCES is a folder with the published data sets (names of their folders as in `data/tagger_training/SOURCE.md`). Every set
with labels is cut in two by a seeded hash of the record's id: the development half may be learned from, the test half is
only measured on. Clinical prose has no labels: whatever the rules take for an identifier in it is marked UNKNOWN, which
training skips, so that it teaches neither that it is one nor that it is none.
"""

# ruff: noqa: E501, SIM905

import argparse
import csv
import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SPLIT_SEED = "fine-tune-assets-1"
Record = dict[str, Any]


def is_test(record_id: str) -> bool:
    return hashlib.sha256(f"{SPLIT_SEED}:{record_id}".encode()).digest()[0] % 2 == 1


def spans_of_values(text: str, items: list[tuple[str, str]]) -> list[Record]:
    """Every whole-word place of each (label, value); longer values win."""
    spans: list[Record] = []
    for label, value in sorted(items, key=lambda item: -len(item[1])):
        before, after = (r"(?<!\w)" if value[:1].isalnum() else ""), (r"(?!\w)" if value[-1:].isalnum() else "")
        places = [m.span() for m in re.finditer(before + re.escape(value) + after, text)]
        # Glued to another word, as in chartMRN04857211.
        glued = [m.span() for m in re.finditer(re.escape(value), text, re.IGNORECASE)][:1]
        for start, end in places or glued:
            if not any(start < s["end"] and s["start"] < end for s in spans):
                spans.append({"start": start, "end": end, "label": label})
    return sorted(spans, key=lambda s: s["start"])


def asq(path: Path) -> Iterator[Record]:
    blocks = [b for b in path.read_text(encoding="utf-8").split("===QUERY===") if b.strip()]
    for number, block in enumerate(blocks):
        text, _, tags = block.partition("===PHI_TAGS===")
        items = [(j["identifier_type"], j["value"]) for j in map(json.loads, filter(str.strip, tags.splitlines()))]
        yield {"id": f"asq-{number:04d}", "text": text.strip(), "spans": spans_of_values(text.strip(), items)}


def outis(path: Path) -> Iterator[Record]:
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            row = json.loads(line)
            spans = [{k: s[k] for k in ("start", "end", "label")} for s in row["spans"]]
            yield {"id": row["id"], "text": row["text"], "spans": spans}


def presidio_research(path: Path) -> Iterator[Record]:
    for number, row in enumerate(json.loads(path.read_text(encoding="utf-8"))):
        spans = [
            {"start": s["start_position"], "end": s["end_position"], "label": s["entity_type"]} for s in row["spans"]
        ]
        yield {"id": f"psr-{number:04d}", "text": row["full_text"], "spans": sorted(spans, key=lambda s: s["start"])}


def deidgate(path: Path) -> Iterator[Record]:
    for line in filter(str.strip, path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        items = [(p["category"].upper(), p["value"]) for p in row["phi"]]
        yield {"id": row["id"], "text": row["text"], "spans": spans_of_values(row["text"], items)}


_ALSO_WORDS = set(
    "good price ward long young hill bell cook day rice wood green brown white black gray may april mark bill grant summer joy hope faith rose lane "
    "reed sharp strong wise love rich frank will art dean king knight page park parks banks woods west stone field case cross pope rush sweet waters "
    "winters moss moody baker cole ross hall berry walker butler hunter marsh barber fox wolf".split()
)


def aci(folder: Path, split: str) -> Iterator[Record]:
    """Dialogues and notes with the names that the metadata states. Other identifiers are not labelled."""
    with (folder / f"{split}_metadata.csv").open(encoding="utf-8-sig") as file:
        about = {row["encounter_id"]: row for row in csv.DictReader(file)}
    with (folder / f"{split}.csv").open(encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            stated = about[row["encounter_id"]]
            parts = {
                p
                for k in ("doctor_name", "patient_firstname", "patient_familyname")
                for p in (stated.get(k) or "").split()
                if len(p) > 2
            }
            for part in ("dialogue", "note"):
                spans = [span for name in sorted(parts) for span in _name_places(row[part], name)]
                yield {
                    "id": f"{split}-{row['encounter_id']}-{part}",
                    "text": row[part],
                    "spans": sorted(spans, key=lambda s: s["start"]),
                    "labels": ["NAME"],
                }


def _name_places(text: str, name: str) -> Iterator[Record]:
    is_word = name.lower() in _ALSO_WORDS
    pattern = re.escape(name.capitalize() if is_word else name)
    for place in re.finditer(rf"(?<!\w){pattern}(?!\w)", text, 0 if is_word else re.IGNORECASE):
        yield {"start": place.start(), "end": place.end(), "label": "NAME"}


def prose(sources: Path) -> Iterator[Record]:
    """Sections and dialogues of MTS-Dialog and ACI-Bench (their training and validation parts) and notes of PriMock57."""
    for name in ("MTS-Dialog-TrainingSet", "MTS-Dialog-ValidationSet"):
        with (sources / "clin_mts_dialog" / f"{name}.csv").open(encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                yield {
                    "id": f"{name}-{row['ID']}-section",
                    "text": row["section_text"].strip(),
                    "kind": "note",
                    "spans": [],
                }
                yield {
                    "id": f"{name}-{row['ID']}-dialogue",
                    "text": row["dialogue"].strip(),
                    "kind": "speech",
                    "spans": [],
                }
    for path in sorted((sources / "clin_primock57" / "notes").glob("*.json")):
        yield {
            "id": f"primock-{path.stem}",
            "text": json.loads(path.read_text(encoding="utf-8"))["note"].strip(),
            "kind": "note",
            "spans": [],
        }
    for split in ("train", "valid"):
        for record in aci(sources / "clin_aci_bench", split):
            yield {**record, "kind": "speech" if record["id"].endswith("dialogue") else "note"}


def with_unknowns(records: Iterable[Record]) -> Iterator[Record]:
    """Mark unlabelled text that the rules recognize as an identifier as UNKNOWN."""
    from fine_tune_assets.phi.recognizers.domain_rules import load_rules
    from fine_tune_assets.phi.recognizers.rules.rule_list import apply_rules

    for record in records:
        labelled = record["spans"]
        for span in apply_rules(record["text"], load_rules("clinical").rules):
            if not any(span.start < s["end"] and s["start"] < span.end for s in labelled):
                labelled.append({"start": span.start, "end": span.end, "label": "UNKNOWN"})
        labelled.sort(key=lambda s: s["start"])
        yield record


def write(path: Path, records: Iterable[Record]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
    else:
        path.write_text(lines, encoding="utf-8")
    print(path.name, lines.count("\n"), "records", path.stat().st_size, "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    parser.add_argument("outis_train", type=Path, nargs="*")
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, required=True)
    a = parser.parse_args()
    labelled = {
        "asq_phi": list(asq(a.sources / "phi_asq_phi" / "synthetic_clinical_queries.txt")),
        "outis_base": list(outis(a.sources / "phi_outis_dev" / "base_validation_400.jsonl")),
        "outis_coverage": list(outis(a.sources / "phi_outis_dev" / "coverage_validation_300.jsonl")),
        "presidio_research": list(presidio_research(a.sources / "phi_presidio_research" / "synth_dataset_v2.json")),
    }
    for name, records in labelled.items():
        write(a.training / f"{name}.jsonl.gz", [r for r in records if not is_test(r["id"])])
        write(a.evaluation / f"{name}.jsonl", [r for r in records if is_test(r["id"])])
    write(a.evaluation / "deidgate.jsonl", deidgate(a.sources / "phi_deidgate" / "safeharbor_seed.jsonl"))
    aci_test = list(aci(a.sources / "clin_aci_bench", "clinicalnlp_taskB_test1"))
    write(a.evaluation / "aci_dialogue_names.jsonl", [r for r in aci_test if r["id"].endswith("dialogue")])
    write(a.evaluation / "aci_note_names.jsonl", [r for r in aci_test if r["id"].endswith("note")])
    invented = [r for path in a.outis_train for r in outis(path)]
    random.Random(SPLIT_SEED).shuffle(invented)
    write(a.training / "outis_train.jsonl.gz", invented)


if __name__ == "__main__":
    main()
