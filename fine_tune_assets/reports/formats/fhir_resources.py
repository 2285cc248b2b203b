"""FHIR R4 resources as they stand in JSON files, and how a reference finds its resource.

Owns parsing and resolving. Read as JSON with checks of its own, not by a model of the standard: such a model (fhir.resources)
refuses what real systems send, such as a missing status, and with it the report. Decimals stay as they are written: 6.10 is
not 6.1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fine_tune_assets.core.strict_parsing import load_json
from fine_tune_assets.reports.contents import decode
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

Resource = Mapping[str, Any]
_DEEPEST_BUNDLE = 5


@dataclass(frozen=True)
class Placed:
    """A resource and its number in its file, from 1: its line in NDJSON."""

    number: int
    resource: Resource
    full_url: str = ""


@dataclass
class Index:
    """Resources by what refers to them."""

    by_key: dict[str, Resource] = field(default_factory=dict)
    by_identifier: dict[tuple[str, str], Resource] = field(default_factory=dict)
    relatives: dict[str, list[Resource]] = field(default_factory=dict)
    """Key of a patient → RelatedPersons."""

    def add(self, placed: Placed) -> None:
        resource = placed.resource
        kind = str(resource["resourceType"])
        if placed.full_url:
            self.by_key[placed.full_url] = resource
        if isinstance(resource.get("id"), str):
            self.by_key[f"{kind}/{resource['id']}"] = resource
        for identifier in dicts(resource.get("identifier")):
            self.by_identifier[kind, str(identifier.get("value"))] = resource
        if kind == "RelatedPerson":
            for patient in dicts(resource.get("patient")):
                self.relatives.setdefault(str(patient.get("reference")), []).append(resource)

    def find(self, reference: str) -> Resource | None:
        """The resource that a reference names: relative, absolute, by URN or by a search for an identifier."""
        if "?identifier=" in reference:
            kind, _, wanted = reference.rpartition("/")[2].partition("?identifier=")
            return self.by_identifier.get((kind, wanted.rpartition("|")[2]))
        versionless = reference.partition("/_history/")[0]
        return self.by_key.get(versionless) or self.by_key.get("/".join(versionless.split("/")[-2:]))


def parse_resources(content: bytes, is_lines: bool) -> Iterator[Placed | tuple[int, UnreadableError]]:
    """Every resource of a file, those in bundles included. A bad line never stops the others.

    Raises UnreadableError if nothing of the file can be read.
    """
    if not is_lines:
        yield from _numbered(_resources(_loaded(content), "", 0))
        return
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            try:
                for full_url, resource in _resources(_loaded(line), "", 0):
                    yield Placed(number, resource, full_url)
            except UnreadableError as error:
                yield number, error


def _numbered(found: Iterator[tuple[str, Resource]]) -> Iterator[Placed]:
    for number, (full_url, resource) in enumerate(found, start=1):
        yield Placed(number, resource, full_url)


def _loaded(content: bytes) -> Any:
    try:
        return load_json(decode(content), str)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(Reason.CORRUPT_FILE, "It is not valid JSON, or names a key twice.") from error


def _resources(value: Any, full_url: str, depth: int) -> Iterator[tuple[str, Resource]]:
    if not isinstance(value, dict) or not isinstance(value.get("resourceType"), str):
        raise UnreadableError(Reason.UNSUPPORTED_FORMAT, "Its JSON is no FHIR resource: it has no resourceType.")
    if value["resourceType"] != "Bundle":
        yield full_url, value
        return
    if depth == _DEEPEST_BUNDLE:
        raise UnreadableError(Reason.CORRUPT_FILE, "It has too many bundles in bundles.")
    for entry in dicts(value.get("entry")):
        if "resource" in entry:
            yield from _resources(entry["resource"], str(entry.get("fullUrl") or ""), depth + 1)


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, or the object itself: what is of another type has no meaning in FHIR."""
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, dict)]


def words(value: Any) -> str:
    """A plain value as text on one line; empty for anything else."""
    return " ".join(str(value).split()) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def concept(value: Any) -> str:
    """What a CodeableConcept says to people."""
    for item in dicts(value):
        shown = [words(item.get("text")), *(words(coding.get("display")) for coding in dicts(item.get("coding")))]
        codes = [words(coding.get("code")) for coding in dicts(item.get("coding"))]
        found = next((text for text in (*shown, *codes) if text), "")
        if found:
            return found
    return ""
