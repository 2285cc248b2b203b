"""The text of FHIR observations, diagnostic reports and document references.

Owns how a result is written ("name: value unit (range) flag") and which form of a report is taken where it comes in several.
The evidence is what stands in the value elements, unformatted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.reports.contents import decode_base64
from fine_tune_assets.reports.facts import Found, ReadDocument
from fine_tune_assets.reports.formats.fhir_resources import Resource, concept, dicts, words
from fine_tune_assets.reports.formats.registry import kind_of_attachment
from fine_tune_assets.reports.unreadable_files import Reason, UnreadableError

_PREFERRED = ("text", "html", "rtf", "docx", "pdf", "ccda")
"""Forms of one report say the same: the one that loses least on the way to text."""
_WITHDRAWN = frozenset({"entered-in-error", "cancelled", "superseded"})
_NORMAL = frozenset({"N", "Normal", "normal"})
Fetch = Callable[[str], Resource | None]


@dataclass(frozen=True)
class Written:
    text: str
    evidence: str


def require_valid(resource: Resource) -> None:
    """Raise UnreadableError for what its own status takes back."""
    if words(resource.get("status")) in _WITHDRAWN or words(resource.get("docStatus")) in _WITHDRAWN:
        raise UnreadableError(Reason.WITHDRAWN, "It, or a result in it, is marked as entered in error or replaced.")


def write_diagnostic_report(
    report: Resource, results: list[Resource], fetch: Fetch, read_document: ReadDocument
) -> Written:
    """Its issued form if it has one, else its results and conclusion. Raises UnreadableError."""
    for resource in (report, *results):
        require_valid(resource)
    title = concept(report.get("code"))
    form = read_form(dicts(report.get("presentedForm")), fetch, read_document)
    conclusion = report.get("conclusion") if isinstance(report.get("conclusion"), str) else ""
    parts, evidence = [title], [conclusion or ""]
    if form is not None:
        parts.append(form.text)
        evidence.append(form.evidence or "")
    else:
        parts.append("\n".join(line for result in results for line in observation_lines(result)))
        evidence += [leaf for result in results for leaf in values_in(result)]
        parts += [concept(code) for code in dicts(report.get("conclusionCode"))] if not conclusion else []
    if conclusion and (form is None or conclusion not in form.text):
        parts.append(conclusion)
    if not any(part.strip() for part in parts[1:]):
        return _narrative(report, title, read_document)
    return Written("\n\n".join(part for part in parts if part.strip()), "\n".join(evidence))


def write_document_reference(document: Resource, fetch: Fetch, read_document: ReadDocument) -> Written:
    """The document itself. Raises UnreadableError."""
    require_valid(document)
    attachments = [a for content in dicts(document.get("content")) for a in dicts(content.get("attachment"))]
    form = read_form(attachments, fetch, read_document)
    if form is None:
        raise UnreadableError(
            Reason.UNSUPPORTED_FORMAT, "Its document is not in the batch. Drop it as a file, with a sidecar."
        )
    return Written(form.text, form.evidence or "")


def write_composition(composition: Resource, read_document: ReadDocument) -> Written:
    """The narrative of a clinical document, section by section. Raises UnreadableError."""
    require_valid(composition)
    parts = list(_sections(composition, read_document))
    if not any(part.text.strip() for part in parts):
        raise UnreadableError(Reason.EMPTY, "None of its sections has a narrative.")
    title = words(composition.get("title")) or concept(composition.get("type"))
    texts = [title, *(part.text for part in parts)]
    return Written("\n\n".join(text for text in texts if text.strip()), "\n".join(part.evidence for part in parts))


def _sections(holder: Resource, read_document: ReadDocument) -> Iterator[Written]:
    for section in dicts(holder.get("section")):
        narrative = next((d["div"] for d in dicts(section.get("text")) if isinstance(d.get("div"), str)), "")
        found = read_document("html", narrative.encode("utf-8", "replace")) if narrative else Found("")
        title = words(section.get("title")) if found.text.strip() else ""
        yield Written("\n\n".join(part for part in (title, found.text) if part), found.evidence or "")
        yield from _sections(section, read_document)


def entries_of(holder: Resource) -> Iterator[str]:
    """References of what a document's narrative says in words."""
    for section in dicts(holder.get("section")):
        yield from (words(entry.get("reference")) for entry in dicts(section.get("entry")))
        yield from entries_of(section)


def write_observations(observations: list[Resource]) -> Written:
    """A loose set of observations, such as the vital signs of one visit."""
    lines = [line for observation in observations for line in observation_lines(observation)]
    return Written("\n".join(lines), "\n".join(v for observation in observations for v in values_in(observation)))


def _narrative(report: Resource, title: str, read_document: ReadDocument) -> Written:
    divs = [d["div"] for d in dicts(report.get("text")) if isinstance(d.get("div"), str)]
    if not divs:
        raise UnreadableError(Reason.EMPTY, "It has no form, result, conclusion or narrative in the batch.")
    found = read_document("html", divs[0].encode("utf-8", "replace"))
    return Written(f"{title}\n\n{found.text}", found.evidence or "")


def read_form(attachments: list[dict[str, Any]], fetch: Fetch, read_document: ReadDocument) -> Found | None:
    """The text of the form that loses least; None if there is none in the batch. Raises UnreadableError."""
    forms, refused = [], None
    for attachment in attachments:
        data, media = _data(attachment, fetch)
        if data is None:
            continue
        content = decode_base64("".join(data.split()), validate=True)
        try:
            forms.append((_PREFERRED.index(kind_of_attachment(content, media)), content))
        except UnreadableError as error:
            refused = error
    if forms:
        rank, content = min(forms, key=lambda form: form[0])
        return read_document(_PREFERRED[rank], content)
    if refused is not None:
        raise refused
    return None


def _data(attachment: dict[str, Any], fetch: Fetch) -> tuple[str | None, str]:
    media = words(attachment.get("contentType"))
    if isinstance(attachment.get("data"), str):
        return attachment["data"], media
    binary = fetch(words(attachment.get("url"))) if attachment.get("url") else None
    if binary is not None and isinstance(binary.get("data"), str):
        return binary["data"], words(binary.get("contentType")) or media
    return None, media


def observation_lines(observation: Resource) -> Iterator[str]:
    """The observation and each of its components on a line, notes below."""
    name = concept(observation.get("code"))
    site = concept(observation.get("bodySite"))
    shown = " ".join(part for part in (name, f"({site})" if site else "") if part)
    yield f"{shown}: {_result(observation)}".removesuffix(": ")
    for component in dicts(observation.get("component")):
        yield f"- {concept(component.get('code'))}: {_result(component)}"
    for note in dicts(observation.get("note")):
        if isinstance(note.get("text"), str):
            yield note["text"].strip()


def _result(observed: Resource) -> str:
    values = (_value(key, item) for key, item in observed.items() if key.startswith("value"))
    value = next((shown for shown in values if shown), "")
    value = value or concept(observed.get("dataAbsentReason"))
    spans = [span for reference in dicts(observed.get("referenceRange")) if (span := _span(reference))]
    flags = [f for i in dicts(observed.get("interpretation")) if (f := _flag(i)) and f not in _NORMAL]
    return " ".join(part for part in (value, f"({'; '.join(spans)})" if spans else "", " ".join(flags)) if part)


def _flag(interpretation: dict[str, Any]) -> str:
    codes = [words(coding.get("code")) for coding in dicts(interpretation.get("coding"))]
    return next((code for code in codes if code), "") or words(interpretation.get("text"))


def _span(reference: dict[str, Any]) -> str:
    if words(reference.get("text")):
        return words(reference.get("text"))
    low, high = (_quantity(reference.get(end)) for end in ("low", "high"))
    return f"{low} - {high}" if low and high else f">= {low}" if low else f"<= {high}" if high else ""


def _value(key: str, value: Any) -> str:
    if key == "valueBoolean":
        return {True: "yes", False: "no"}.get(value, "")
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value).strip()
    if not isinstance(value, dict):
        return ""
    if key in ("valueQuantity", "valueAge", "valueMoney"):
        return _quantity(value)
    if key == "valueRange":
        return " - ".join(part for end in ("low", "high") if (part := _quantity(value.get(end))))
    if key == "valueRatio":
        return " / ".join(part for end in ("numerator", "denominator") if (part := _quantity(value.get(end))))
    if key == "valuePeriod":
        return " - ".join(part for end in ("start", "end") if (part := words(value.get(end))))
    return concept(value)


def _quantity(value: Any) -> str:
    for item in dicts(value):
        unit = words(item.get("unit")) or words(item.get("code"))
        return f"{words(item.get('comparator'))}{words(item.get('value'))} {unit}".strip()
    return ""


def values_in(observation: Any) -> Iterator[str]:
    """Whatever plain values stand in the value elements, at any depth."""
    for key, value in observation.items() if isinstance(observation, dict) else ():
        if key in ("valueQuantity", "valueRange", "valueRatio"):
            yield from _quantities(value)
        elif key in ("valueString", "valueInteger", "valueDateTime", "valueTime"):
            yield words(value)
        elif key == "component":
            for component in dicts(value):
                yield from values_in(component)


def _quantities(value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    if "value" in value:
        yield f"{value.get('comparator', '')}{value['value']} {value.get('unit', value.get('code', ''))}"
    for item in value.values():
        yield from _quantities(item)
