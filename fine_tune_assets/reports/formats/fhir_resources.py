"""Parses FHIR R4 resources from JSON and resolves references between them.

Plain JSON with our own checks, because model libraries such as fhir.resources reject what real systems send, such as a missing
status. Decimals keep their written form: 6.10 is not 6.1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fine_tune_assets.core.strict_parsing import load_json
from fine_tune_assets.reports.file_contents import decode_text
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

Resource = Mapping[str, Any]
_MAX_BUNDLE_DEPTH = 5


@dataclass(frozen=True)
class NumberedResource:
    """A resource and its number in its file, from 1; in NDJSON, its line."""

    number: int
    resource: Resource
    full_url: str = ""


@dataclass
class ResourceIndex:
    """Finds resources by reference."""

    by_key: dict[str, Resource] = field(default_factory=dict)
    by_identifier: dict[tuple[str, str], Resource] = field(default_factory=dict)
    relatives: dict[str, list[Resource]] = field(default_factory=dict)
    """Patient reference → RelatedPerson resources."""

    def add(self, placed: NumberedResource) -> None:
        resource = placed.resource
        kind = str(resource["resourceType"])
        if placed.full_url:
            self.by_key[placed.full_url] = resource
        if isinstance(resource.get("id"), str):
            self.by_key[f"{kind}/{resource['id']}"] = resource
        for identifier in as_dicts(resource.get("identifier")):
            self.by_identifier[kind, str(identifier.get("value"))] = resource
        if kind == "RelatedPerson":
            for patient in as_dicts(resource.get("patient")):
                self.relatives.setdefault(str(patient.get("reference")), []).append(resource)

    def find(self, reference: str) -> Resource | None:
        """Find a resource by relative or absolute reference, URN, or identifier search."""
        if "?identifier=" in reference:
            kind, _, identifier = reference.rpartition("/")[2].partition("?identifier=")
            return self.by_identifier.get((kind, identifier.rpartition("|")[2]))
        versionless = reference.partition("/_history/")[0]
        return self.by_key.get(versionless) or self.by_key.get("/".join(versionless.split("/")[-2:]))


def parse_resources(content: bytes, is_ndjson: bool) -> Iterator[NumberedResource | tuple[int, UnreadableError]]:
    """Yield every resource of a file, including those in bundles. A bad line does not affect the others.

    Raises UnreadableError if nothing in the file can be read.
    """
    if not is_ndjson:
        yield from _number_resources(_iter_resources(_load_json_text(content), "", 0))
        return
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            try:
                for full_url, resource in _iter_resources(_load_json_text(line), "", 0):
                    yield NumberedResource(number, resource, full_url)
            except UnreadableError as error:
                yield number, error


def _number_resources(found: Iterator[tuple[str, Resource]]) -> Iterator[NumberedResource]:
    for number, (full_url, resource) in enumerate(found, start=1):
        yield NumberedResource(number, resource, full_url)


def _load_json_text(content: bytes) -> Any:
    try:
        return load_json(decode_text(content), str)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(UnreadableReason.CORRUPT_FILE, "The file is not valid JSON, or repeats a key.") from error


def _iter_resources(value: Any, full_url: str, depth: int) -> Iterator[tuple[str, Resource]]:
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED_FORMAT, "The JSON is not a FHIR resource: resourceType is missing."
        )
    if value["resourceType"] != "Bundle":
        yield full_url, value
        return
    if depth == _MAX_BUNDLE_DEPTH:
        raise UnreadableError(UnreadableReason.CORRUPT_FILE, "Bundles are nested too deeply.")
    for entry in as_dicts(value.get("entry")):
        if "resource" in entry:
            yield from _iter_resources(entry["resource"], str(entry.get("fullUrl") or ""), depth + 1)


def as_dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, or the object itself; other types have no meaning in FHIR."""
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, dict)]


def as_text(value: Any) -> str:
    """A scalar as text on one line; empty for other types."""
    return " ".join(str(value).split()) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def concept_text(value: Any) -> str:
    """The human-readable text of a CodeableConcept."""
    for item in as_dicts(value):
        shown = [
            as_text(item.get("text")),
            *(as_text(coding.get("display")) for coding in as_dicts(item.get("coding"))),
        ]
        codes = [as_text(coding.get("code")) for coding in as_dicts(item.get("coding"))]
        found = next((text for text in (*shown, *codes) if text), "")
        if found:
            return found
    return ""
