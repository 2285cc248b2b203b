"""A labelled set with misses, as its measurement writes the tables."""

import json
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import LabelledMiss, ScrubRecall

FAR = "far away " * 40
TEXT = f"{FAR}Moira Quillfeather called <b>Tobias Wren</b> about DM-229-417. {FAR}Ada Lark left."


def place(text: str, value: str, label: str) -> dict[str, Any]:
    return {"start": text.index(value), "end": text.index(value) + len(value), "label": label}


def write_misses(settings: Settings, count: int = 1, ids: tuple[str | int, ...] = ()) -> Path:
    """A labelled set with `count` documents, in each of which a name and a number were missed, and its measurement.

    `ids`: of the first documents; the others have none.
    """
    spans = [place(TEXT, "Moira Quillfeather", "NAME"), place(TEXT, "Tobias Wren", "NAME")]
    spans += [place(TEXT, "DM-229-417", "MRN"), place(TEXT, "Ada Lark", "NAME")]
    file = settings.data_dir / "evaluation" / "phi" / "own.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    documents = [{"text": TEXT, "spans": spans, **({"id": ids[n]} if n < len(ids) else {})} for n in range(count)]
    file.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    shared = {"labelled_set": "own", "file_fingerprint": fingerprint_file(file), "scrubber_version": "v"}
    surname, number = place(TEXT, "Quillfeather", "NAME"), spans[2]
    rows = [
        {
            **shared,
            **span,
            "missed_start": left["start"],
            "missed_end": left["end"],
            "document": n,
            "cause": cause,
            "rule": None,
        }
        for n in range(1, count + 1)
        for span, left, cause in ((spans[0], surname, "protected_word"), (number, number, "no_form"))
    ]
    write_table(settings.layout.table("labelled_misses"), table_from_rows(rows, LabelledMiss.SCHEMA))
    recall = {"labelled_set": "own", "measure": "masked_recall", "label": "all", "hits": 2 * count, "total": 4 * count}
    recall |= {"value": 0.5, "low": 0.1, "high": 0.9, "scrubber_version": "v"}
    write_table(settings.layout.table("scrub_recall"), table_from_rows([recall], ScrubRecall.SCHEMA))
    return file
