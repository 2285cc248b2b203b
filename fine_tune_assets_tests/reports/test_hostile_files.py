"""Damaged and fabricated files of every format are either read or unreadable, with no other effect."""

import json
import random
from collections.abc import Iterator
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets.reports.formats.document_formats import DOCUMENT_FORMATS, read_document
from fine_tune_assets.reports.report_metadata import ParsedReport
from fine_tune_assets.reports.unreadable_files import UnreadableError
from fine_tune_assets_tests.reports.sample_files import (
    REPORT,
    WITH_PATIENT,
    WITH_SIDECAR,
    as_docx,
    as_text,
    as_zip,
    attached,
    fhir_bundle,
)
from fine_tune_assets_tests.reports.shared_reader import shared_reader

SECRET = b"k" * 32
WRITERS = {
    **WITH_PATIENT,
    **WITH_SIDECAR,
    "zip": lambda report: as_zip({"a.txt": as_text(report), "b.docx": as_docx(report)}),
}
MUTANTS = 25


def mutants(content: bytes, seed: int) -> list[bytes]:
    """The content with a few bytes changed, removed, repeated or truncated; the same in every run."""
    rng = random.Random(seed)
    made = []
    for _ in range(MUTANTS):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 6)):
            start = rng.randrange(len(changed))
            end = min(len(changed), start + rng.randint(1, 40))
            action = rng.choice(["change", "cut", "double", "end"])
            if action == "change":
                changed[start] = rng.randrange(256)
            elif action == "cut":
                del changed[start:end]
            elif action == "double":
                changed[start:start] = changed[start:end]
            else:
                del changed[max(start, 10) :]
        made.append(bytes(changed))
    return made


@pytest.mark.parametrize("ending", list(WRITERS))
def test_a_damaged_file_is_read_or_unreadable(tmp_path: Path, ending: str) -> None:
    """Failing a batch over one damaged file would lose all others."""
    for number, content in enumerate(mutants(WRITERS[ending](REPORT), seed=len(ending))):
        (tmp_path / f"{number:02}.{ending}").write_bytes(content)
    (tmp_path / "batch.yaml").write_text("metadata: {subject_id: p}\n")
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits(), reader=shared_reader(ReadLimits()))
    assert reading.file_counts.is_balanced
    assert reading.file_counts.files > MUTANTS


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from _places(item, (*at, key))


def test_a_resource_with_wrong_types_is_read_or_unreadable(tmp_path: Path) -> None:
    """JSON does not enforce types: exports may have a list where a text belongs."""
    attachment = {"contentType": "text/plain", "data": attached(b"Note.")}
    more = [
        {"resourceType": "Organization", "id": "o", "alias": ["x"], "name": "y", "address": [{"line": ["z"]}]},
        {
            "resourceType": "DocumentReference",
            "subject": {"reference": "Patient/p1"},
            "content": [{"attachment": attachment}],
        },
    ]
    bundle = fhir_bundle(REPORT)
    bundle["entry"] += [{"resource": resource} for resource in more]
    places = [at for at in _places(bundle) if at[-1] != "resourceType"]
    strange = [None, 5, "x", [], {}, [[]], [5], {"a": [{"b": None}]}, True, 1.5]
    for number, at in enumerate(places):
        changed: Any = json.loads(json.dumps(bundle))
        holder = reduce(lambda inner, key: inner[key], at[:-1], changed)
        holder[at[-1]] = strange[number % len(strange)]
        (tmp_path / f"{number}.json").write_text(json.dumps(changed))
    reading = read_batch(tmp_path, "b1", SECRET, ReadLimits(), reader=shared_reader(ReadLimits()))
    assert reading.file_counts.is_balanced
    assert reading.reports.num_rows > len(places)


@pytest.mark.parametrize("kind", [known.kind for known in DOCUMENT_FORMATS])
@pytest.mark.parametrize(
    "content",
    [b"\x00", b"<", b"<a" * 10_000, b"{\\rtf1 " + b"{" * 50_000 + b"}", b"%PDF-1.7\n" * 500, b"PK\x03\x04" * 99],
)
def test_fabricated_content_is_read_or_unreadable(kind: str, content: bytes) -> None:
    with suppress(UnreadableError):
        assert isinstance(read_document(kind, content, None), ParsedReport)


def test_entities_are_never_expanded() -> None:
    """A few lines of XML could expand to gigabytes or include any file of this machine."""
    bomb = "".join(
        f'<!ENTITY a{n} "{"&a" + str(n - 1) + ";" * 1}{("&a" + str(n - 1) + ";") * 9}">' for n in range(1, 9)
    )
    document = f'<!DOCTYPE x [<!ENTITY a0 "x">{bomb}]><ClinicalDocument xmlns="urn:hl7-org:v3">&a8;</ClinicalDocument>'
    outside = (
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
        '<ClinicalDocument xmlns="urn:hl7-org:v3"><component><structuredBody><component><section><text>&e;</text></section>'
        "</component></structuredBody></component></ClinicalDocument>"
    )
    for content in (document, outside):
        with pytest.raises(UnreadableError):
            read_document("ccda", content.encode(), None)
    evil = as_zip({"word/document.xml": outside.encode(), "[Content_Types].xml": b"<Types/>"})
    with pytest.raises(UnreadableError):
        read_document("docx", evil, None)
