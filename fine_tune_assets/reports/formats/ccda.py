"""C-CDA documents: the clinical document architecture of HL7, as electronic records exchange it.

Owns which elements hold the report's narrative and which hold people, places, ids and dates. The text is what a person reads
(the sections' narrative blocks); the coded entries behind it say the same for machines.
"""

import re
from collections.abc import Callable
from typing import Any

from defusedxml import ElementTree as SafeTree
from lxml import etree

from fine_tune_assets.quantities.metadata_dates import first_day
from fine_tune_assets.reports.contents import decode_base64
from fine_tune_assets.reports.facts import Facts, Found, distinct
from fine_tune_assets.reports.formats.hl7_fields import iso_date
from fine_tune_assets.reports.formats.markup import name_of, text_of
from fine_tune_assets.reports.identifiers import Identifier, Kind
from fine_tune_assets.reports.text_cleanup import one_line
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_NS = {"c": "urn:hl7-org:v3"}
_C = "{urn:hl7-org:v3}"
_PEOPLE = re.compile(r"patient|.*Person|subject|informationRecipient|.*Recipient")
_PLACES = re.compile(r".*Organization|location|.*Custodian")
_TELECOM = {"tel": Kind.PHONE, "fax": Kind.PHONE, "mailto": Kind.EMAIL, "http": Kind.URL, "https": Kind.URL}


def read_ccda(content: bytes, read_attached: Callable[[bytes, str], Found]) -> Found:
    """The report in a clinical document. `read_attached` reads an attachment, given its content and media type.

    Raises UnreadableError.
    """
    root = _parsed(content)
    facts = _facts(root)
    attached = root.find("c:component/c:nonXMLBody/c:text", _NS)
    if attached is not None:
        return _attached(attached, facts, read_attached)
    body = root.find("c:component/c:structuredBody", _NS)
    if body is None:
        raise UnreadableError(Reason.EMPTY, "It has no body.")
    sections = [text for section in body.findall("c:component/c:section", _NS) for text in _section(section)]
    return Found("\n\n".join(sections), facts, evidence=_other_route(content))


def _parsed(content: bytes) -> Any:
    # No entity is expanded and nothing is fetched: an external one could send any file of this machine away.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableError(Reason.CORRUPT_FILE, "It is not well-formed XML. Export it again.") from error
    if root.getroottree().docinfo.doctype:
        raise UnreadableError(Reason.CORRUPT_FILE, "It has a DOCTYPE, as no clinical document does. Export it again.")
    if root.tag != f"{_C}ClinicalDocument":
        raise UnreadableError(Reason.UNSUPPORTED_FORMAT, "Its XML is no C-CDA document. Export it as one.")
    return root


def _section(section: Any) -> list[str]:
    title = one_line("".join(section.findtext("c:title", "", _NS)))
    narrative = section.find("c:text", _NS)
    text = "" if narrative is None else text_of(narrative)
    own = "\n\n".join(part for part in (title, text) if part)
    inner = [found for nested in section.findall("c:component/c:section", _NS) for found in _section(nested)]
    return [found for found in (own, *inner) if found]


def _attached(attached: Any, facts: Facts, read_attached: Callable[[bytes, str], Found]) -> Found:
    if attached.find("c:reference", _NS) is not None:
        raise UnreadableError(
            Reason.UNSUPPORTED_FORMAT, "Its body lies in another file. Drop that file, with a sidecar."
        )
    if attached.get("representation") != "B64":
        return Found("".join(attached.itertext()), facts)
    content = decode_base64("".join(attached.itertext()), validate=False)
    found = read_attached(content, attached.get("mediaType", "text/plain"))
    return Found(found.text, facts, found.evidence, found.is_all_evidence)


def _facts(root: Any) -> Facts:
    patient = root.find("c:recordTarget/c:patientRole", _NS)
    name = None if patient is None else patient.find("c:patient/c:name", _NS)
    ids = [] if patient is None else [i.get("extension", "") for i in patient.findall("c:id", _NS)]
    identifiers = [
        *(Identifier(Kind.ID, value) for value in _header_ids(root)),
        *(identifier for found in root.iter(f"{_C}name") for identifier in _named(found)),
        *(identifier for found in root.iter(f"{_C}addr") for identifier in _address(found)),
        *(identifier for found in root.iter(f"{_C}telecom") for identifier in _telecom(found)),
        *(identifier for found in _dated(root) for identifier in _date(found)),
    ]
    patient_id = next((one_line(value) for value in ids if value.strip()), "")
    # Of the document itself: when it was written.
    written = first_day(e.get("value", "") for e in root.findall("c:effectiveTime", _NS))
    spoken = "" if name is None else _plain_name(name)
    return Facts(patient_id, spoken, identifiers=distinct(identifiers), written_on=written)


def _header_ids(root: Any) -> list[str]:
    # The header alone: what stands in the body names codes and entries, not people.
    header = [child for child in root if name_of(child) != "component"]
    found = [i for child in header for i in ([child] if name_of(child) == "id" else child.iter(f"{_C}id"))]
    return [value for i in found if (value := one_line(i.get("extension", "")))]


def _plain_name(name: Any) -> str:
    """Given and family names in the order in which they are said; without titles and degrees."""
    parts = {
        kind: [one_line("".join(p.itertext())) for p in name.findall(f"c:{kind}", _NS)] for kind in ("given", "family")
    }
    spoken = " ".join(part for part in (*parts["given"], *parts["family"]) if part)
    return spoken or one_line("".join(name.itertext()))


def _named(name: Any) -> list[Identifier]:
    """A person or a place. What else has a name is a substance or a device."""
    holder = name_of(name.getparent()) or ""
    value = _plain_name(name)
    if not value:
        return []
    if _PEOPLE.fullmatch(holder) or name.find("c:family", _NS) is not None:
        return [Identifier(Kind.NAME, value)]
    return [Identifier(Kind.FACILITY, value)] if _PLACES.fullmatch(holder) else []


def _address(address: Any) -> list[Identifier]:
    wanted = ("streetAddressLine", "city", "postalCode", "houseNumber", "streetName")
    values = (one_line(p.text or "") for kind in wanted for p in address.findall(f"c:{kind}", _NS))
    return [Identifier(Kind.ADDRESS, value) for value in values if len(value) > 2]


def _telecom(telecom: Any) -> list[Identifier]:
    scheme, _, value = telecom.get("value", "").partition(":")
    if not value:
        scheme, value = "tel", scheme
    value = one_line(value.lstrip("/"))
    return [Identifier(_TELECOM.get(scheme.lower(), Kind.PHONE), value)] if value else []


def _dated(root: Any) -> list[Any]:
    header = [child for child in root if name_of(child) != "component"]
    return [
        e
        for child in header
        for e in child.iter()
        if name_of(e) in ("birthTime", "effectiveTime", "time", "low", "high")
    ]


def _date(element: Any) -> list[Identifier]:
    day = iso_date(element.get("value", ""))
    return [Identifier(Kind.DATE, day)] if day else []


def _other_route(content: bytes) -> str:
    """Titles and narratives by Python's own parser."""
    root = SafeTree.fromstring(content)
    sections = root.findall(f"{_C}component/{_C}structuredBody//{_C}section")
    return "\n".join(
        _all_text(part) for section in sections for kind in ("title", "text") for part in section.findall(_C + kind)
    )


def _all_text(element: Any) -> str:
    if element.get("revised") == "delete" or element.tag == f"{_C}del":
        return ""
    is_inline = element.tag in {f"{_C}{name}" for name in ("content", "sub", "linkHtml")}
    before = "^" if element.tag == f"{_C}sup" else "" if is_inline else " "
    inner = "".join(_all_text(child) + (child.tail or "") for child in element)
    return f"{before}{element.text or ''}{inner}{'' if is_inline else ' '}"
