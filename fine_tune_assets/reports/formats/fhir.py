"""FHIR R4 as JSON and NDJSON: diagnostic reports, documents, and observations that belong to neither.

Resolves references across files, as in a bulk export with one file per resource type. fhir_text.py renders the text,
fhir_people.py extracts the identifiers.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fine_tune_assets.reports.file_contents import Contents
from fine_tune_assets.reports.formats.fhir_people import FOLLOWED_TYPES, extract_metadata
from fine_tune_assets.reports.formats.fhir_resources import (
    NumberedResource,
    Resource,
    ResourceIndex,
    as_dicts,
    as_text,
    parse_resources,
)
from fine_tune_assets.reports.formats.fhir_text import (
    RenderedText,
    iter_entry_references,
    render_composition,
    render_diagnostic_report,
    render_document_reference,
    render_observations,
    require_not_withdrawn,
)
from fine_tune_assets.reports.report_metadata import ParsedRecords, ParsedReport, ReadDocument
from fine_tune_assets.reports.text_cleanup import normalize_marked
from fine_tune_assets.reports.unreadable_files import UnreadableError

_REPORT_TYPES = ("DiagnosticReport", "DocumentReference", "Composition")
FHIR_FORMATS = (".json", ".ndjson")
_NDJSON_SUFFIX = ".ndjson"
_MAX_INDEXED_BYTES = 200_000_000
"""Total size of the other files indexed for references; they take about ten times as much memory."""
_INDEXED_TYPES = frozenset({*FOLLOWED_TYPES, "Binary"})


class FhirFolder:
    """The FHIR files of a folder or archive, which may refer to each other."""

    def __init__(
        self, contents: Contents, max_bytes: int, read_document: ReadDocument, start_file: Callable[[Path], None]
    ) -> None:
        """`start_file` is called before each file. It may raise UnreadableError."""
        self._contents, self._start_file, self._current = contents, start_file, Path()
        self._largest_bytes = max_bytes
        self._read_document = read_document
        self._shared_index: ResourceIndex | None = None
        self._referenced_results: set[str] = set()
        self._files_without_report: set[Path] = set()

    def has_only_resources(self, path: Path) -> bool:
        """Whether a file that was read contains resources but no report."""
        return path in self._files_without_report

    def read(self, path: Path, content: bytes) -> ParsedRecords:
        """Yield every report with its number. Raises UnreadableError if nothing in the file can be read."""
        self._current = path
        placed, own, has_report = [], ResourceIndex(), False
        for item in parse_resources(content, path.suffix.lower() == _NDJSON_SUFFIX):
            if isinstance(item, NumberedResource):
                placed.append(item)
                own.add(item)
            else:
                has_report = True
                yield item
        for item in placed:
            if item.resource["resourceType"] in _REPORT_TYPES:
                has_report = True
                yield item.number, self._read_report(item.resource, own)
        for number, outcome in self._read_unreferenced(placed, own):
            has_report = True
            yield number, outcome
        if placed and not has_report:
            self._files_without_report.add(path)

    def _read_report(self, report: Resource, own: ResourceIndex) -> ParsedReport | UnreadableError:
        try:
            if report["resourceType"] == "Composition":
                written = render_composition(report, self._read_document)
            elif report["resourceType"] == "DocumentReference":
                written = render_document_reference(report, self._make_fetch(own), self._read_document)
            else:
                results = self._collect_results(report, own)
                written = render_diagnostic_report(report, results, self._make_fetch(own), self._read_document)
            return self._make_report(written, report, own)
        except UnreadableError as error:
            return error

    def _make_report(self, written: RenderedText, report: Resource, own: ResourceIndex) -> ParsedReport:
        facts = extract_metadata(
            report, lambda reference, holder: self._resolve(reference, holder, own), self._make_relatives_lookup(own)
        )
        return ParsedReport.from_marked(
            normalize_marked(written.text), facts, written.reference_text, is_reference_complete=False
        )

    def _collect_results(self, report: Resource, own: ResourceIndex) -> list[Resource]:
        """Observations that a report refers to, panels with their members, without repeats."""
        results: list[Resource] = []
        waiting = [(reference, report) for reference in as_dicts(report.get("result"))]
        while waiting:
            reference, holder = waiting.pop(0)
            result = self._resolve(as_text(reference.get("reference")), holder, own)
            if result is not None and not any(result is known for known in results):
                results.append(result)
                waiting = [(member, result) for member in as_dicts(result.get("hasMember"))] + waiting
        return results

    def _read_unreferenced(
        self, placed: list[NumberedResource], own: ResourceIndex
    ) -> Iterator[tuple[int, ParsedReport | UnreadableError]]:
        """Observations that no report refers to: one report per patient and encounter."""
        named = {as_text(r.get("reference")) for p in placed for r in as_dicts(p.resource.get("result"))}
        in_words = {
            e for p in placed if p.resource["resourceType"] == "Composition" for e in iter_entry_references(p.resource)
        }
        taken = {id(own.find(reference)) for reference in in_words}
        taken |= {
            id(r)
            for p in placed
            if p.resource["resourceType"] == "DiagnosticReport"
            for r in self._collect_results(p.resource, own)
        }
        observations = [
            p for p in placed if p.resource["resourceType"] == "Observation" and id(p.resource) not in taken
        ]
        if observations:
            self._load_shared_index()
            named |= self._referenced_results
        groups: dict[tuple[str, str], list[NumberedResource]] = {}
        for item in observations:
            if f"Observation/{item.resource.get('id')}" in named:
                continue
            try:
                require_not_withdrawn(item.resource)
            except UnreadableError as error:
                yield item.number, error
                continue
            groups.setdefault((_read_reference(item, "subject"), _read_reference(item, "encounter")), []).append(item)
        for group in groups.values():
            yield group[0].number, self._read_observations([item.resource for item in group], own)

    def _read_observations(self, observations: list[Resource], own: ResourceIndex) -> ParsedReport | UnreadableError:
        # As if one report referred to all of them, so that people are searched for in each.
        together: dict[str, Any] = {**observations[0], "hasMember": [], "resourceType": "Observation"}
        try:
            found = self._make_report(render_observations(observations), together, own)
            for other in observations[1:]:
                more = self._make_report(RenderedText("", ""), other, own)
                found = ParsedReport(
                    found.text, found.metadata.merge(more.metadata), found.reference_text, found.is_reference_complete
                )
            return found
        except UnreadableError as error:
            return error

    def _resolve(self, reference: str, holder: Resource, own: ResourceIndex) -> Resource | None:
        if not reference:
            return None
        if reference.startswith("#"):
            return next((r for r in as_dicts(holder.get("contained")) if r.get("id") == reference[1:]), None)
        return own.find(reference) or self._load_shared_index().find(reference)

    def _make_fetch(self, own: ResourceIndex) -> Any:
        return lambda url: own.find(url) or self._load_shared_index().find(url)

    def _make_relatives_lookup(self, own: ResourceIndex) -> Any:
        return lambda patient: [
            *own.relatives.get(patient, []),
            *(self._shared_index or ResourceIndex()).relatives.get(patient, []),
        ]

    def _load_shared_index(self) -> ResourceIndex:
        """Index people, places and results of every other FHIR file; files beyond the size limit are not indexed."""
        if self._shared_index is not None:
            return self._shared_index
        self._shared_index, left = ResourceIndex(), _MAX_INDEXED_BYTES
        for path in self._contents.files.readable:
            if path.suffix.lower() not in FHIR_FORMATS:
                continue
            try:
                self._start_file(path)
                content = self._contents.read(path, min(left, self._largest_bytes))
                left -= len(content)
                self._index_file(content, path)
            except UnreadableError:
                continue  # reported as unreadable when it is read as a file
        self._start_file(self._current)
        return self._shared_index

    def _index_file(self, content: bytes, path: Path) -> None:
        assert self._shared_index is not None
        for found in parse_resources(content, path.suffix.lower() == _NDJSON_SUFFIX):
            if not isinstance(found, NumberedResource):
                continue
            if found.resource["resourceType"] in _INDEXED_TYPES:
                self._shared_index.add(found)
            if found.resource["resourceType"] == "DiagnosticReport":
                self._referenced_results |= {
                    as_text(r.get("reference")) for r in as_dicts(found.resource.get("result"))
                }


def _read_reference(placed: NumberedResource, key: str) -> str:
    return next((as_text(r.get("reference")) for r in as_dicts(placed.resource.get(key))), "")
