"""FHIR R4 as JSON and NDJSON: diagnostic reports, documents, and observations that belong to neither.

Owns which resources are reports, and that one may lie in another file than the resources that it refers to, as in a bulk
export of a file a type. How they read is in fhir_text, whom they name in fhir_people.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fine_tune_assets.reports.contents import Contents
from fine_tune_assets.reports.facts import Findings, Found, ReadDocument
from fine_tune_assets.reports.formats.fhir_people import FOLLOWED, facts_of
from fine_tune_assets.reports.formats.fhir_resources import Index, Placed, Resource, dicts, parse_resources, words
from fine_tune_assets.reports.formats.fhir_text import (
    Written,
    entries_of,
    require_valid,
    write_composition,
    write_diagnostic_report,
    write_document_reference,
    write_observations,
)
from fine_tune_assets.reports.text_cleanup import tidy
from fine_tune_assets.reports.unreadable_files import UnreadableError

_REPORTS = ("DiagnosticReport", "DocumentReference", "Composition")
FHIR_FORMATS = (".json", ".ndjson")
_LINES = ".ndjson"
_MOST_OTHER_BYTES = 200_000_000
"""Of the other files that are kept in memory while references into them are looked up: about ten times as much."""
_KEPT = frozenset({*FOLLOWED, "Binary"})


class FhirFolder:
    """The FHIR files of a folder or an archive, of which each may refer to the others."""

    def __init__(self, contents: Contents, largest_bytes: int, read_document: ReadDocument) -> None:
        self._contents = contents
        self._largest_bytes = largest_bytes
        self._read_document = read_document
        self._others: Index | None = None
        self._results_elsewhere: set[str] = set()
        self._without_report: set[Path] = set()

    def is_resources_only(self, path: Path) -> bool:
        """Whether a file that was read holds resources, but no report."""
        return path in self._without_report

    def read(self, path: Path, content: bytes) -> Findings:
        """Every report in the file, with its number. Raises UnreadableError if nothing of it can be read."""
        placed, own, has_report = [], Index(), False
        for found in parse_resources(content, path.suffix.lower() == _LINES):
            if isinstance(found, Placed):
                placed.append(found)
                own.add(found)
            else:
                has_report = True
                yield found
        for item in placed:
            if item.resource["resourceType"] in _REPORTS:
                has_report = True
                yield item.number, self._report(item.resource, own)
        for number, outcome in self._loose(placed, own):
            has_report = True
            yield number, outcome
        if placed and not has_report:
            self._without_report.add(path)

    def _report(self, report: Resource, own: Index) -> Found | UnreadableError:
        try:
            if report["resourceType"] == "Composition":
                written = write_composition(report, self._read_document)
            elif report["resourceType"] == "DocumentReference":
                written = write_document_reference(report, self._fetching(own), self._read_document)
            else:
                results = self._results(report, own)
                written = write_diagnostic_report(report, results, self._fetching(own), self._read_document)
            return self._found(written, report, own)
        except UnreadableError as error:
            return error

    def _found(self, written: Written, report: Resource, own: Index) -> Found:
        facts = facts_of(report, lambda reference, holder: self._find(reference, holder, own), self._relatives(own))
        return Found(tidy(written.text), facts, written.evidence, is_all_evidence=False)

    def _results(self, report: Resource, own: Index) -> list[Resource]:
        """The observations that a report names, panels with their members, each once."""
        found: list[Resource] = []
        waiting = [(reference, report) for reference in dicts(report.get("result"))]
        while waiting:
            reference, holder = waiting.pop(0)
            result = self._find(words(reference.get("reference")), holder, own)
            if result is not None and not any(result is known for known in found):
                found.append(result)
                waiting = [(member, result) for member in dicts(result.get("hasMember"))] + waiting
        return found

    def _loose(self, placed: list[Placed], own: Index) -> Iterator[tuple[int, Found | UnreadableError]]:
        """Observations that no report names: one report for each patient and encounter."""
        named = {words(r.get("reference")) for p in placed for r in dicts(p.resource.get("result"))}
        in_words = {e for p in placed if p.resource["resourceType"] == "Composition" for e in entries_of(p.resource)}
        taken = {id(own.find(reference)) for reference in in_words}
        taken |= {
            id(r)
            for p in placed
            if p.resource["resourceType"] == "DiagnosticReport"
            for r in self._results(p.resource, own)
        }
        observations = [
            p for p in placed if p.resource["resourceType"] == "Observation" and id(p.resource) not in taken
        ]
        if observations:
            self._load_others()
            named |= self._results_elsewhere
        groups: dict[tuple[str, str], list[Placed]] = {}
        for item in observations:
            if f"Observation/{item.resource.get('id')}" in named:
                continue
            try:
                require_valid(item.resource)
            except UnreadableError as error:
                yield item.number, error
                continue
            groups.setdefault((_reference(item, "subject"), _reference(item, "encounter")), []).append(item)
        for group in groups.values():
            yield group[0].number, self._observed([item.resource for item in group], own)

    def _observed(self, observations: list[Resource], own: Index) -> Found | UnreadableError:
        # As if one report named them all: then people are looked for in each.
        together: dict[str, Any] = {**observations[0], "hasMember": [], "resourceType": "Observation"}
        try:
            found = self._found(write_observations(observations), together, own)
            for other in observations[1:]:
                more = self._found(Written("", ""), other, own)
                found = Found(found.text, found.facts.completed_by(more.facts), found.evidence, found.is_all_evidence)
            return found
        except UnreadableError as error:
            return error

    def _find(self, reference: str, holder: Resource, own: Index) -> Resource | None:
        if not reference:
            return None
        if reference.startswith("#"):
            return next((r for r in dicts(holder.get("contained")) if r.get("id") == reference[1:]), None)
        return own.find(reference) or self._load_others().find(reference)

    def _fetching(self, own: Index) -> Any:
        return lambda url: own.find(url) or self._load_others().find(url)

    def _relatives(self, own: Index) -> Any:
        return lambda patient: [*own.relatives.get(patient, []), *(self._others or Index()).relatives.get(patient, [])]

    def _load_others(self) -> Index:
        """People, places and results of every FHIR file beside, up to a limit: what is beyond it is not found."""
        if self._others is not None:
            return self._others
        self._others, left = Index(), _MOST_OTHER_BYTES
        for path in self._contents.files.to_read:
            if path.suffix.lower() not in FHIR_FORMATS:
                continue
            try:
                content = self._contents.read(path, min(left, self._largest_bytes))
                left -= len(content)
                self._keep(content, path)
            except UnreadableError:
                continue  # it is quarantined when its own turn comes
        return self._others

    def _keep(self, content: bytes, path: Path) -> None:
        assert self._others is not None
        for found in parse_resources(content, path.suffix.lower() == _LINES):
            if not isinstance(found, Placed):
                continue
            if found.resource["resourceType"] in _KEPT:
                self._others.add(found)
            if found.resource["resourceType"] == "DiagnosticReport":
                self._results_elsewhere |= {words(r.get("reference")) for r in dicts(found.resource.get("result"))}


def _reference(placed: Placed, key: str) -> str:
    return next((words(r.get("reference")) for r in dicts(placed.resource.get(key))), "")
