"""Extracts every identifier that the fields of an HL7 v2 message state.

Values are decoded to plain text: DOE^JOHN^A is the name John A Doe, in any case.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

from fine_tune_assets.quantities.metadata_dates import read_first_day
from fine_tune_assets.reports.formats.hl7_fields import read_repetitions, to_iso_date, unescape
from fine_tune_assets.reports.report_metadata import ReportMetadata, deduplicate_identifiers
from fine_tune_assets.reports.stated_identifiers import Identifier, IdentifierKind

_MIN_FACILITY_CHARACTERS = 6
"""Senders are often called LAB or RAD; removing such words everywhere would damage the report."""
_MIN_ADDRESS_CHARACTERS = 3


def _name(parts: Sequence[str]) -> Iterator[Identifier]:
    """XPN: family^given^middle."""
    family = parts[0].split("&")[0]
    yield from _make_identifier(IdentifierKind.NAME, " ".join(part for part in (*parts[1:3], family) if part))


def _person(parts: Sequence[str]) -> Iterator[Identifier]:
    """XCN: id^family^given^middle."""
    yield from _make_identifier(IdentifierKind.ID, parts[0] if len(parts) > 1 else "")
    yield from _name(parts[1:] if len(parts) > 1 else parts)


def _person_subcomponents(parts: Sequence[str]) -> Iterator[Identifier]:
    """NDL: id&family&given in the first component."""
    yield from _person(parts[0].split("&"))


def _id(parts: Sequence[str]) -> Iterator[Identifier]:
    yield from _make_identifier(IdentifierKind.ID, parts[0])


def _date(parts: Sequence[str]) -> Iterator[Identifier]:
    yield from _make_identifier(IdentifierKind.DATE, to_iso_date(parts[0]))


def _address(parts: Sequence[str]) -> Iterator[Identifier]:
    """XAD: street^other^city^state^postal code. A state is not an identifier."""
    street = parts[0].split("&")[0]
    for part in (street, *parts[1:3], *parts[4:5]):
        yield from _make_identifier(IdentifierKind.ADDRESS, part if len(part) >= _MIN_ADDRESS_CHARACTERS else "")


def _telecom(parts: Sequence[str]) -> Iterator[Identifier]:
    """XTN: number^use^equipment^email^country^area^local."""
    for part in parts[:1]:
        yield from _make_identifier(IdentifierKind.EMAIL if "@" in part else IdentifierKind.PHONE, part)
    yield from _make_identifier(IdentifierKind.EMAIL, "".join(parts[3:4]))
    area, local = "".join(parts[5:6]), "".join(parts[6:7])
    yield from _make_identifier(IdentifierKind.PHONE, f"{area}-{local}" if area and local else local)


def _facility(parts: Sequence[str]) -> Iterator[Identifier]:
    name = parts[0].split("&")[0]
    yield from _make_identifier(IdentifierKind.FACILITY, name if len(name) >= _MIN_FACILITY_CHARACTERS else "")


def _place(parts: Sequence[str]) -> Iterator[Identifier]:
    """PL: ward^room^bed^facility."""
    yield from _facility(parts[3:4] or [""])


def _make_identifier(kind: IdentifierKind, value: str) -> Iterator[Identifier]:
    if value.strip(' "'):  # "" is how a message deletes a value
        yield Identifier(kind, value)


FieldReader = Callable[[Sequence[str]], Iterator[Identifier]]
_FIELD_READERS: dict[str, dict[int, FieldReader]] = {
    "MSH": {4: _facility, 6: _facility},
    "PID": {
        2: _id, 3: _id, 4: _id, 5: _name, 6: _name, 7: _date, 9: _name, 11: _address, 13: _telecom, 14: _telecom, 18: _id,
        19: _id, 20: _id, 21: _id, 29: _date, 40: _telecom,
    },
    "PD1": {3: _facility, 4: _person},
    "NK1": {
        2: _name, 4: _address, 5: _telecom, 6: _telecom, 7: _telecom, 12: _id, 13: _facility, 16: _date, 26: _name, 30: _name,
        31: _telecom, 32: _address, 33: _id, 37: _id,
    },
    "PV1": {
        3: _place, 6: _place, 7: _person, 8: _person, 9: _person, 17: _person, 19: _id, 44: _date, 45: _date, 50: _id,
        52: _person,
    },
    "PV2": {8: _date, 9: _date, 13: _person, 23: _facility},
    "ORC": {
        2: _id, 3: _id, 4: _id, 9: _date, 10: _person, 11: _person, 12: _person, 14: _telecom, 15: _date, 21: _facility,
        22: _address, 23: _telecom, 24: _address,
    },
    "OBR": {
        2: _id, 3: _id, 6: _date, 7: _date, 8: _date, 10: _person, 14: _date, 16: _person, 17: _telecom, 18: _id, 19: _id,
        20: _id, 21: _id, 22: _date, 28: _person, 32: _person_subcomponents, 33: _person_subcomponents, 34: _person_subcomponents,
        35: _person_subcomponents, 36: _date,
    },
    "OBX": {14: _date, 16: _person, 19: _date, 23: _facility, 24: _address, 25: _person},
    "TXA": {
        4: _date, 5: _person, 6: _date, 7: _date, 8: _date, 9: _person, 10: _person, 11: _person, 12: _id, 14: _id, 15: _id,
        22: _person, 23: _person,
    },
    "GT1": {
        2: _id, 3: _name, 4: _name, 5: _address, 6: _telecom, 7: _telecom, 8: _date, 12: _id, 16: _name, 17: _address,
        18: _telecom,
    },
    "IN1": {2: _id, 8: _id, 16: _name, 18: _date, 19: _address, 36: _id, 49: _id},
    "IN2": {1: _id, 2: _id, 6: _id, 8: _id, 61: _id},
    "SPM": {2: _id, 17: _date, 18: _date},
}  # fmt: skip

_WRITTEN_ON_FIELDS = (("TXA", 6), ("TXA", 4), ("OBR", 22), ("OBR", 7), ("MSH", 7))
"""Fields that state when the report was written, most reliable first: a message may be sent years later."""


def extract_metadata(message: Any) -> ReportMetadata:
    """Extract the patient, and all other people, places, ids and dates that the fields state."""
    identifiers = [found for segment in message for found in _segment_identifiers(message, segment)]
    patient = next((segment for segment in message if str(segment[0]) == "PID"), None)
    if patient is None:
        return ReportMetadata(identifiers=deduplicate_identifiers(identifiers), written_on=_read_written_on(message))
    name = next((i.value for r in read_repetitions(patient, 5) for i in _name(_decode_parts(message, r))), "")
    return ReportMetadata(
        _read_patient_id(message, patient),
        name,
        identifiers=deduplicate_identifiers(identifiers),
        written_on=_read_written_on(message),
    )


def _read_written_on(message: Any) -> date | None:
    return read_first_day(
        _decode_parts(message, repetition)[0]
        for name, number in _WRITTEN_ON_FIELDS
        for segment in message
        if str(segment[0]) == name
        for repetition in read_repetitions(segment, number)
    )


def _segment_identifiers(message: Any, segment: Any) -> Iterator[Identifier]:
    for number, read in _FIELD_READERS.get(str(segment[0]), {}).items():
        for repetition in read_repetitions(segment, number):
            yield from read(_decode_parts(message, repetition))


def _decode_parts(message: Any, parts: Sequence[str]) -> list[str]:
    return [" ".join(unescape(message, part).split()) for part in parts]


def _read_patient_id(message: Any, patient: Any) -> str:
    """Return the medical record number, or else the first patient id."""
    found = [_decode_parts(message, parts) for number in (3, 2, 4) for parts in read_repetitions(patient, number)]
    found = [parts for parts in found if parts[0].strip('"')]
    record_numbers = [parts for parts in found if len(parts) > 4 and parts[4].upper() in ("MR", "MRN", "PI")]
    return next((parts[0] for parts in (*record_numbers, *found)), "")
