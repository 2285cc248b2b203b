"""Whom and what FHIR resources name: every identifier that a report's resources state.

Owns which element of which resource holds what, and how far references are followed from a report.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from fine_tune_assets.quantities.metadata_dates import first_day
from fine_tune_assets.reports.facts import Facts, distinct
from fine_tune_assets.reports.formats.fhir_resources import Resource, dicts, words
from fine_tune_assets.reports.identifiers import Identifier, Kind

_PEOPLE = frozenset({"Patient", "Practitioner", "RelatedPerson", "Person"})
_PLACES = frozenset({"Organization", "Location", "HealthcareService"})
FOLLOWED = frozenset(
    {*_PEOPLE, *_PLACES, "PractitionerRole", "Encounter", "ServiceRequest", "ImagingStudy", "Specimen", "CareTeam",
     "Observation", "EpisodeOfCare", "Account"}
)  # fmt: skip
"""Types that hold people, places and their ids. Medications and the like name nobody."""
_PLACE_FIELDS = frozenset(
    {"custodian", "serviceProvider", "managingOrganization", "location", "organization", "origin"}
)
_NOT_PEOPLE_FIELDS = frozenset(
    """basedOn result specimen hasMember derivedFrom focus encounter media link partOf device imagingStudy coverage related
    context relatesTo target condition diagnosis medication entry detail reasonReference coding class modality bodySite
    format""".split()  # noqa: SIM905
)
"""Elements whose `display` says what a thing or a code is called."""
_DATES = frozenset(
    """birthDate deceasedDateTime effectiveDateTime effectiveInstant issued authoredOn started date collectedDateTime
    receivedTime occurrenceDateTime start end""".split()  # noqa: SIM905
)
_WRITTEN = ("date", "issued", "effectiveDateTime", "effectiveInstant")
"""Elements of a report that tell when it was written, the surest first."""
_TELECOM = {
    "phone": Kind.PHONE,
    "fax": Kind.PHONE,
    "pager": Kind.PHONE,
    "sms": Kind.PHONE,
    "email": Kind.EMAIL,
    "url": Kind.URL,
}
_MOST_FOLLOWED = 5_000
_TYPE = re.compile(r"(?:^|/)([A-Z][A-Za-z]+)[/?]")
"""The type in a reference: `Patient/7`, `https://host/fhir/Patient/7`, `Practitioner?identifier=7`."""
Find = Callable[[str, Resource], Resource | None]
"""The resource of a reference in a resource."""


def facts_of(report: Resource, find: Find, relatives: Callable[[str], list[Resource]]) -> Facts:
    """The patient of a report, and everybody and everything else that its resources name."""
    visited = list(_reachable(report, find))
    for reference in dicts(report.get("subject")):
        visited += relatives(words(reference.get("reference")))
    written = first_day(report[key] for key in _WRITTEN if isinstance(report.get(key), str))
    patient = _patient(report, find)
    if patient is not None and isinstance(patient.get("id"), str):
        visited += relatives(f"Patient/{patient['id']}")
    identifiers = distinct(i for resource in visited for i in _stated(resource, ""))
    if patient is None:
        stated = [words(i.get("value")) for r in dicts(report.get("subject")) for i in dicts(r.get("identifier"))]
        return Facts(next((value for value in stated if value), ""), identifiers=identifiers, written_on=written)
    name = next((value for name in dicts(patient.get("name")) if (value := _plain_name(name))), "")
    return Facts(_patient_id(patient), name, identifiers=identifiers, written_on=written)


def _patient(report: Resource, find: Find) -> Resource | None:
    for reference in dicts(report.get("subject")):
        found = find(words(reference.get("reference")), report)
        if found is not None and found.get("resourceType") == "Patient":
            return found
    return None


def _patient_id(patient: Resource) -> str:
    """The medical record number, else the first id of the patient, else the id of the resource."""
    stated = dicts(patient.get("identifier"))
    record_numbers = [
        i for i in stated if any(c.get("code") == "MR" for t in dicts(i.get("type")) for c in dicts(t.get("coding")))
    ]
    values = (words(identifier.get("value")) for identifier in (*record_numbers, *stated))
    return next((value for value in values if value), "") or words(patient.get("id"))


def _reachable(report: Resource, find: Find) -> Iterator[Resource]:
    waiting, seen = [report], {id(report)}
    while waiting and len(seen) < _MOST_FOLLOWED:
        resource = waiting.pop(0)
        yield resource
        for reference in _references(resource):
            found = find(reference, resource)
            if found is not None and id(found) not in seen and found.get("resourceType") in FOLLOWED:
                seen.add(id(found))
                waiting.append(found)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for key, item in value.items():
            if key != "contained":
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _stated(resource: Resource, within: str) -> Iterator[Identifier]:
    """Every identifier in a resource or a part of it; `within` is the element's name."""
    kind = resource.get("resourceType")
    is_place = kind in _PLACES
    if kind in _PEOPLE:
        yield from _as(Kind.ID, resource.get("id"))
    for key, value in resource.items():
        if key in ("contained", "text", "code", "extension", "meta", "valueQuantity", "component", "type", "category"):
            continue
        if key == "name":
            yield from _names(value, is_place or within in _PLACE_FIELDS)
        elif key in ("identifier", "masterIdentifier", "accessionIdentifier", "requisition", "groupIdentifier"):
            for identifier in dicts(value):
                yield from _as(Kind.ID, identifier.get("value"))
        elif key == "address":
            yield from (found for address in dicts(value) for found in _address(address))
        elif key == "telecom":
            for contact in dicts(value):
                yield from _as(_TELECOM.get(words(contact.get("system")), Kind.PHONE), contact.get("value"))
        elif key in _DATES:
            yield from _as(Kind.DATE, _day(value))
        elif key == "authorString":
            yield from _as(Kind.NAME, value)
        elif key == "alias" and is_place and isinstance(value, list):
            yield from (found for alias in value for found in _as(Kind.FACILITY, alias))
        else:
            yield from (found for item in dicts(value) for found in _of_element(item, key))


def _of_element(item: dict[str, Any], key: str) -> Iterator[Identifier]:
    if "display" in item and ("reference" in item or "identifier" in item or not {"code", "system"} & set(item)):
        yield from _displayed(item, key)
    yield from _stated(item, key)


def _displayed(reference: dict[str, Any], key: str) -> Iterator[Identifier]:
    typed = _TYPE.search(words(reference.get("reference")))
    kind = words(reference.get("type")) or (typed.group(1) if typed else "")
    if kind in _PLACES or (not kind and key in _PLACE_FIELDS):
        yield from _as(Kind.FACILITY, reference.get("display"))
    elif kind in _PEOPLE or kind == "PractitionerRole" or (not kind and key not in _NOT_PEOPLE_FIELDS):
        yield from _as(Kind.NAME, reference.get("display"))


def _names(value: Any, is_place: bool) -> Iterator[Identifier]:
    if isinstance(value, str):
        yield from _as(Kind.FACILITY if is_place else Kind.NAME, value)
    for name in dicts(value):
        yield from _as(Kind.NAME, _plain_name(name))


def _plain_name(name: dict[str, Any]) -> str:
    """Given and family names in the order in which they are said; without titles and degrees."""
    given = name.get("given")
    parts = [*(given if isinstance(given, list) else [given]), name.get("family")]
    return " ".join(text for part in parts if (text := words(part))) or words(name.get("text"))


def _address(address: dict[str, Any]) -> Iterator[Identifier]:
    lines = address.get("line")
    parts = [*(lines if isinstance(lines, list) else [lines]), address.get("city"), address.get("postalCode")]
    for part in parts if any(parts) else [address.get("text")]:
        yield from _as(Kind.ADDRESS, part if len(words(part)) > 2 else "")


def _day(value: Any) -> str:
    found = re.match(r"\d{4}-\d{2}-\d{2}", words(value))
    return found.group() if found else ""


def _as(kind: Kind, value: Any) -> Iterator[Identifier]:
    if words(value):
        yield Identifier(kind, words(value))
