"""Extracts every identifier that a report's FHIR resources state, following references."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from fine_tune_assets.quantities.metadata_dates import read_first_day
from fine_tune_assets.reports.formats.fhir_resources import Resource, as_dicts, as_text
from fine_tune_assets.reports.report_metadata import ReportMetadata, deduplicate_identifiers
from fine_tune_assets.reports.stated_identifiers import Identifier, IdentifierKind

_PERSON_TYPES = frozenset({"Patient", "Practitioner", "RelatedPerson", "Person"})
_PLACE_TYPES = frozenset({"Organization", "Location", "HealthcareService"})
FOLLOWED_TYPES = frozenset(
    {*_PERSON_TYPES, *_PLACE_TYPES, "PractitionerRole", "Encounter", "ServiceRequest", "ImagingStudy", "Specimen", "CareTeam",
     "Observation", "EpisodeOfCare", "Account"}
)  # fmt: skip
"""Resource types that contain people, places and their ids. Medications, for example, contain none."""
_PLACE_FIELDS = frozenset(
    {"custodian", "serviceProvider", "managingOrganization", "location", "organization", "origin"}
)
_NON_PERSON_FIELDS = frozenset(
    """basedOn result specimen hasMember derivedFrom focus encounter media link partOf device imagingStudy coverage related
    context relatesTo target condition diagnosis medication entry detail reasonReference coding class modality bodySite
    format""".split()  # noqa: SIM905
)
"""Elements whose `display` names a thing or a code."""
_DATE_FIELDS = frozenset(
    """birthDate deceasedDateTime effectiveDateTime effectiveInstant issued authoredOn started date collectedDateTime
    receivedTime occurrenceDateTime start end""".split()  # noqa: SIM905
)
_WRITTEN_ON_FIELDS = ("date", "issued", "effectiveDateTime", "effectiveInstant")
"""Elements that state when a report was written, most reliable first."""
_TELECOM = {
    "phone": IdentifierKind.PHONE,
    "fax": IdentifierKind.PHONE,
    "pager": IdentifierKind.PHONE,
    "sms": IdentifierKind.PHONE,
    "email": IdentifierKind.EMAIL,
    "url": IdentifierKind.URL,
}
_MAX_FOLLOWED = 5_000
_REFERENCE_TYPE = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)[/?]")
"""The resource type in a reference: `Patient/7`, `https://host/fhir/Patient/7`, `Practitioner?identifier=7`."""
ResolveReference = Callable[[str, Resource], Resource | None]
"""Returns the resource that a reference in a resource refers to."""


def extract_metadata(
    report: Resource, resolve: ResolveReference, relatives: Callable[[str], list[Resource]]
) -> ReportMetadata:
    """Extract a report's patient, and all other people, places, ids and dates that its resources state."""
    visited = list(_walk_references(report, resolve))
    for reference in as_dicts(report.get("subject")):
        visited += relatives(as_text(reference.get("reference")))
    written = read_first_day(report[key] for key in _WRITTEN_ON_FIELDS if isinstance(report.get(key), str))
    patient = _find_patient(report, resolve)
    if patient is not None and isinstance(patient.get("id"), str):
        visited += relatives(f"Patient/{patient['id']}")
    identifiers = deduplicate_identifiers(i for resource in visited for i in _resource_identifiers(resource, ""))
    if patient is None:
        stated = [
            as_text(i.get("value")) for r in as_dicts(report.get("subject")) for i in as_dicts(r.get("identifier"))
        ]
        return ReportMetadata(
            next((value for value in stated if value), ""), identifiers=identifiers, written_on=written
        )
    name = next((value for name in as_dicts(patient.get("name")) if (value := _format_name(name))), "")
    return ReportMetadata(_read_patient_id(patient), name, identifiers=identifiers, written_on=written)


def _find_patient(report: Resource, find: ResolveReference) -> Resource | None:
    for reference in as_dicts(report.get("subject")):
        found = find(as_text(reference.get("reference")), report)
        if found is not None and found.get("resourceType") == "Patient":
            return found
    return None


def _read_patient_id(patient: Resource) -> str:
    """Return the medical record number, or the patient's first identifier, or the resource id."""
    stated = as_dicts(patient.get("identifier"))
    record_numbers = [
        i
        for i in stated
        if any(c.get("code") == "MR" for t in as_dicts(i.get("type")) for c in as_dicts(t.get("coding")))
    ]
    values = (as_text(identifier.get("value")) for identifier in (*record_numbers, *stated))
    return next((value for value in values if value), "") or as_text(patient.get("id"))


def _walk_references(report: Resource, find: ResolveReference) -> Iterator[Resource]:
    queue, visited = [report], {id(report)}
    while queue and len(visited) < _MAX_FOLLOWED:
        resource = queue.pop(0)
        yield resource
        for reference in _iter_references(resource):
            found = find(reference, resource)
            if found is not None and id(found) not in visited and found.get("resourceType") in FOLLOWED_TYPES:
                visited.add(id(found))
                queue.append(found)


def _iter_references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for key, item in value.items():
            if key != "contained":
                yield from _iter_references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _iter_references(item)


def _resource_identifiers(resource: Resource, within: str) -> Iterator[Identifier]:
    """Yield every identifier in a resource or part of one; `within` is the element's name."""
    kind = resource.get("resourceType")
    is_place = kind in _PLACE_TYPES
    if kind in _PERSON_TYPES:
        yield from _make_identifier(IdentifierKind.ID, resource.get("id"))
    for key, value in resource.items():
        if key in ("contained", "text", "code", "extension", "meta", "valueQuantity", "component", "type", "category"):
            continue
        if key == "name":
            yield from _name_identifiers(value, is_place or within in _PLACE_FIELDS)
        elif key in ("identifier", "masterIdentifier", "accessionIdentifier", "requisition", "groupIdentifier"):
            for identifier in as_dicts(value):
                yield from _make_identifier(IdentifierKind.ID, identifier.get("value"))
        elif key == "address":
            yield from (found for address in as_dicts(value) for found in _address_identifiers(address))
        elif key == "telecom":
            for contact in as_dicts(value):
                yield from _make_identifier(
                    _TELECOM.get(as_text(contact.get("system")), IdentifierKind.PHONE), contact.get("value")
                )
        elif key in _DATE_FIELDS:
            yield from _make_identifier(IdentifierKind.DATE, _parse_day(value))
        elif key == "authorString":
            yield from _make_identifier(IdentifierKind.NAME, value)
        elif key == "alias" and is_place and isinstance(value, list):
            yield from (found for alias in value for found in _make_identifier(IdentifierKind.FACILITY, alias))
        else:
            yield from (found for item in as_dicts(value) for found in _element_identifiers(item, key))


def _element_identifiers(item: dict[str, Any], key: str) -> Iterator[Identifier]:
    if "display" in item and ("reference" in item or "identifier" in item or not {"code", "system"} & set(item)):
        yield from _display_identifiers(item, key)
    yield from _resource_identifiers(item, key)


def _display_identifiers(reference: dict[str, Any], key: str) -> Iterator[Identifier]:
    typed = _REFERENCE_TYPE.search(as_text(reference.get("reference")))
    kind = as_text(reference.get("type")) or (typed.group(1) if typed else "")
    if kind in _PLACE_TYPES or (not kind and key in _PLACE_FIELDS):
        yield from _make_identifier(IdentifierKind.FACILITY, reference.get("display"))
    elif kind in _PERSON_TYPES or kind == "PractitionerRole" or (not kind and key not in _NON_PERSON_FIELDS):
        yield from _make_identifier(IdentifierKind.NAME, reference.get("display"))


def _name_identifiers(value: Any, is_place: bool) -> Iterator[Identifier]:
    if isinstance(value, str):
        yield from _make_identifier(IdentifierKind.FACILITY if is_place else IdentifierKind.NAME, value)
    for name in as_dicts(value):
        yield from _make_identifier(IdentifierKind.NAME, _format_name(name))


def _format_name(name: dict[str, Any]) -> str:
    """Given names, then family name; without titles and degrees."""
    given = name.get("given")
    parts = [*(given if isinstance(given, list) else [given]), name.get("family")]
    return " ".join(text for part in parts if (text := as_text(part))) or as_text(name.get("text"))


def _address_identifiers(address: dict[str, Any]) -> Iterator[Identifier]:
    lines = address.get("line")
    parts = [*(lines if isinstance(lines, list) else [lines]), address.get("city"), address.get("postalCode")]
    for part in parts if any(parts) else [address.get("text")]:
        yield from _make_identifier(IdentifierKind.ADDRESS, part if len(as_text(part)) > 2 else "")


def _parse_day(value: Any) -> str:
    match = re.match(r"\d{4}-\d{2}-\d{2}", as_text(value))
    return match.group() if match else ""


def _make_identifier(kind: IdentifierKind, value: Any) -> Iterator[Identifier]:
    if as_text(value):
        yield Identifier(kind, as_text(value))
