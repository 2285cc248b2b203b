"""C-CDA documents (HL7 clinical document architecture).

The report text is the sections' narrative, which people read; the coded entries repeat it for machines and are skipped.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from defusedxml import ElementTree as SafeTree
from lxml import etree

from fine_tune_assets.quantities.metadata_dates import read_first_day
from fine_tune_assets.reports.file_contents import decode_base64
from fine_tune_assets.reports.formats.hl7_fields import to_iso_date
from fine_tune_assets.reports.formats.markup import extract_marked_text, local_name
from fine_tune_assets.reports.heading_marks import MAX_LEVEL, format_mark
from fine_tune_assets.reports.report_metadata import ParsedReport, ReportMetadata, deduplicate_identifiers
from fine_tune_assets.reports.stated_identifiers import Identifier, IdentifierKind
from fine_tune_assets.reports.text_cleanup import collapse_whitespace
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_NS = {"c": "urn:hl7-org:v3"}
_C = "{urn:hl7-org:v3}"
_PERSON_ELEMENTS = re.compile(r"patient|.*Person|subject|informationRecipient|.*Recipient")
_PLACE_ELEMENTS = re.compile(r".*Organization|location|.*Custodian")
_TELECOM = {
    "tel": IdentifierKind.PHONE,
    "fax": IdentifierKind.PHONE,
    "mailto": IdentifierKind.EMAIL,
    "http": IdentifierKind.URL,
    "https": IdentifierKind.URL,
}


def read_ccda(content: bytes, read_attachment: Callable[[bytes, str], ParsedReport]) -> ParsedReport:
    """Raises UnreadableError. `read_attachment` reads an attachment, given its content and media type."""
    root = _parse(content)
    metadata = _extract_metadata(root)
    attached = root.find("c:component/c:nonXMLBody/c:text", _NS)
    if attached is not None:
        return _read_attached(attached, metadata, read_attachment)
    body = root.find("c:component/c:structuredBody", _NS)
    if body is None:
        raise UnreadableError(UnreadableReason.EMPTY, "The document has no body.")
    sections = [text for section in body.findall("c:component/c:section", _NS) for text in _read_section(section, 1)]
    return ParsedReport.from_marked("\n\n".join(sections), metadata, reference_text=_read_reference_text(content))


def _parse(content: bytes) -> Any:
    # Don't expand entities or fetch anything: an external entity could leak any file of this machine.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableError(
            UnreadableReason.CORRUPT_FILE, "The file is not well-formed XML. Export it again."
        ) from error
    if root.getroottree().docinfo.doctype:
        raise UnreadableError(
            UnreadableReason.CORRUPT_FILE, "The file has a DOCTYPE, which C-CDA does not allow. Export it again."
        )
    if root.tag != f"{_C}ClinicalDocument":
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED_FORMAT, "The XML is not a C-CDA document. Export it as C-CDA."
        )
    return root


def _read_section(section: Any, level: int) -> list[str]:
    title = collapse_whitespace("".join(section.findtext("c:title", "", _NS)))
    narrative = section.find("c:text", _NS)
    text = "" if narrative is None else extract_marked_text(narrative)
    marked = f"{format_mark(level)}{title}" if title else ""
    own = "\n\n".join(part for part in (marked, text) if part)
    below = min(level + 1, MAX_LEVEL)
    inner = [
        found for nested in section.findall("c:component/c:section", _NS) for found in _read_section(nested, below)
    ]
    return [found for found in (own, *inner) if found]


def _read_attached(
    attached: Any, metadata: ReportMetadata, read_attachment: Callable[[bytes, str], ParsedReport]
) -> ParsedReport:
    if attached.find("c:reference", _NS) is not None:
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED_FORMAT,
            "The body is in another file. Add that file to the batch, with a sidecar.",
        )
    if attached.get("representation") != "B64":
        return ParsedReport("".join(attached.itertext()), metadata)
    content = decode_base64("".join(attached.itertext()), validate=False)
    found = read_attachment(content, attached.get("mediaType", "text/plain"))
    return dataclasses.replace(found, metadata=metadata)


def _extract_metadata(root: Any) -> ReportMetadata:
    patient = root.find("c:recordTarget/c:patientRole", _NS)
    name = None if patient is None else patient.find("c:patient/c:name", _NS)
    ids = [] if patient is None else [i.get("extension", "") for i in patient.findall("c:id", _NS)]
    identifiers = [
        *(Identifier(IdentifierKind.ID, value) for value in _header_ids(root)),
        *(identifier for found in root.iter(f"{_C}name") for identifier in _name_identifiers(found)),
        *(identifier for found in root.iter(f"{_C}addr") for identifier in _address_identifiers(found)),
        *(identifier for found in root.iter(f"{_C}telecom") for identifier in _telecom_identifiers(found)),
        *(identifier for found in _find_date_elements(root) for identifier in _date_identifiers(found)),
    ]
    subject_id = next((collapse_whitespace(value) for value in ids if value.strip()), "")
    # effectiveTime of the document itself: when it was written.
    written = read_first_day(e.get("value", "") for e in root.findall("c:effectiveTime", _NS))
    full_name = "" if name is None else _format_name(name)
    return ReportMetadata(subject_id, full_name, identifiers=deduplicate_identifiers(identifiers), written_on=written)


def _header_ids(root: Any) -> list[str]:
    # Header only: ids in the body refer to codes and entries, not people.
    header = [child for child in root if local_name(child) != "component"]
    found = [i for child in header for i in ([child] if local_name(child) == "id" else child.iter(f"{_C}id"))]
    return [value for i in found if (value := collapse_whitespace(i.get("extension", "")))]


def _format_name(name: Any) -> str:
    """Given names, then family names; without titles and degrees."""
    parts = {
        kind: [collapse_whitespace("".join(p.itertext())) for p in name.findall(f"c:{kind}", _NS)]
        for kind in ("given", "family")
    }
    full_name = " ".join(part for part in (*parts["given"], *parts["family"]) if part)
    return full_name or collapse_whitespace("".join(name.itertext()))


def _name_identifiers(name: Any) -> list[Identifier]:
    """People and places. Other named elements are substances or devices."""
    holder = local_name(name.getparent()) or ""
    value = _format_name(name)
    if not value:
        return []
    if _PERSON_ELEMENTS.fullmatch(holder) or name.find("c:family", _NS) is not None:
        return [Identifier(IdentifierKind.NAME, value)]
    return [Identifier(IdentifierKind.FACILITY, value)] if _PLACE_ELEMENTS.fullmatch(holder) else []


def _address_identifiers(address: Any) -> list[Identifier]:
    elements = ("streetAddressLine", "city", "postalCode", "houseNumber", "streetName")
    values = (collapse_whitespace(p.text or "") for kind in elements for p in address.findall(f"c:{kind}", _NS))
    return [Identifier(IdentifierKind.ADDRESS, value) for value in values if len(value) > 2]


def _telecom_identifiers(telecom: Any) -> list[Identifier]:
    scheme, _, value = telecom.get("value", "").partition(":")
    if not value:
        scheme, value = "tel", scheme
    value = collapse_whitespace(value.lstrip("/"))
    return [Identifier(_TELECOM.get(scheme.lower(), IdentifierKind.PHONE), value)] if value else []


def _find_date_elements(root: Any) -> list[Any]:
    header = [child for child in root if local_name(child) != "component"]
    return [
        e
        for child in header
        for e in child.iter()
        if local_name(e) in ("birthTime", "effectiveTime", "time", "low", "high")
    ]


def _date_identifiers(element: Any) -> list[Identifier]:
    day = to_iso_date(element.get("value", ""))
    return [Identifier(IdentifierKind.DATE, day)] if day else []


def _read_reference_text(content: bytes) -> str:
    """Titles and narratives, read by Python's own XML parser."""
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
