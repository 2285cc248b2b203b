"""Renders FHIR observations, diagnostic reports and document references as text.

Results read "name: value unit (range) flag". If a report has several forms, the one that converts to text with the least loss is
used. The reference text is the unformatted content of the value elements.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fine_tune_assets.reports.file_contents import decode_base64
from fine_tune_assets.reports.formats.document_formats import FORMAT_BY_KIND, detect_attachment_kind
from fine_tune_assets.reports.formats.fhir_resources import Resource, as_dicts, as_text, concept_text
from fine_tune_assets.reports.heading_marks import MAX_LEVEL, format_mark
from fine_tune_assets.reports.report_metadata import ParsedReport, ReadDocument
from fine_tune_assets.reports.unreadable_files import UnreadableError, UnreadableReason

_WITHDRAWN_STATUSES = frozenset({"entered-in-error", "cancelled", "superseded"})
_NORMAL_FLAGS = frozenset({"N", "Normal", "normal"})
FetchResource = Callable[[str], Resource | None]


@dataclass(frozen=True)
class RenderedText:
    text: str
    reference_text: str


def require_not_withdrawn(resource: Resource) -> None:
    """Raise UnreadableError if the status says that the resource was withdrawn."""
    if (
        as_text(resource.get("status")) in _WITHDRAWN_STATUSES
        or as_text(resource.get("docStatus")) in _WITHDRAWN_STATUSES
    ):
        raise UnreadableError(
            UnreadableReason.WITHDRAWN, "The report, or a result in it, is marked as entered in error or replaced."
        )


def render_diagnostic_report(
    report: Resource, results: list[Resource], fetch: FetchResource, read_document: ReadDocument
) -> RenderedText:
    """Use the presented form if there is one, otherwise results and conclusion. Raises UnreadableError."""
    for resource in (report, *results):
        require_not_withdrawn(resource)
    title = concept_text(report.get("code"))
    form = read_attached_form(as_dicts(report.get("presentedForm")), fetch, read_document)
    conclusion = report.get("conclusion") if isinstance(report.get("conclusion"), str) else ""
    parts, evidence = [title], [conclusion or ""]
    if form is not None:
        parts.append(form.marked_text)
        evidence.append(form.reference_text or "")
    else:
        parts.append("\n".join(line for result in results for line in render_observation_lines(result)))
        evidence += [leaf for result in results for leaf in iter_values(result)]
        parts += [concept_text(code) for code in as_dicts(report.get("conclusionCode"))] if not conclusion else []
    if conclusion and (form is None or conclusion not in form.text):
        parts.append(conclusion)
    if not any(part.strip() for part in parts[1:]):
        return _render_narrative(report, title, read_document)
    return RenderedText("\n\n".join(part for part in parts if part.strip()), "\n".join(evidence))


def render_document_reference(document: Resource, fetch: FetchResource, read_document: ReadDocument) -> RenderedText:
    """Raises UnreadableError."""
    require_not_withdrawn(document)
    attachments = [a for content in as_dicts(document.get("content")) for a in as_dicts(content.get("attachment"))]
    form = read_attached_form(attachments, fetch, read_document)
    if form is None:
        raise UnreadableError(
            UnreadableReason.UNSUPPORTED_FORMAT, "The document is not in the batch. Add it as a file, with a sidecar."
        )
    return RenderedText(form.marked_text, form.reference_text or "")


def render_composition(composition: Resource, read_document: ReadDocument) -> RenderedText:
    """Render the narrative section by section. Raises UnreadableError."""
    require_not_withdrawn(composition)
    parts = list(_render_sections(composition, read_document, 1))
    if not any(part.text.strip() for part in parts):
        raise UnreadableError(UnreadableReason.EMPTY, "No section has a narrative.")
    title = as_text(composition.get("title")) or concept_text(composition.get("type"))
    texts = [title, *(part.text for part in parts)]
    return RenderedText(
        "\n\n".join(text for text in texts if text.strip()), "\n".join(part.reference_text for part in parts)
    )


def _render_sections(holder: Resource, read_document: ReadDocument, level: int) -> Iterator[RenderedText]:
    for section in as_dicts(holder.get("section")):
        narrative = next((d["div"] for d in as_dicts(section.get("text")) if isinstance(d.get("div"), str)), "")
        found = read_document("html", narrative.encode("utf-8", "replace")) if narrative else ParsedReport("")
        title = as_text(section.get("title")) if found.text.strip() else ""
        marked = f"{format_mark(level)}{title}" if title else ""
        yield RenderedText(
            "\n\n".join(part for part in (marked, found.marked_text) if part), found.reference_text or ""
        )
        yield from _render_sections(section, read_document, min(level + 1, MAX_LEVEL))


def iter_entry_references(holder: Resource) -> Iterator[str]:
    """Yield references to resources that the narrative already covers."""
    for section in as_dicts(holder.get("section")):
        yield from (as_text(entry.get("reference")) for entry in as_dicts(section.get("entry")))
        yield from iter_entry_references(section)


def render_observations(observations: list[Resource]) -> RenderedText:
    """Render observations that belong to no report, such as the vital signs of one visit."""
    lines = [line for observation in observations for line in render_observation_lines(observation)]
    return RenderedText(
        "\n".join(lines), "\n".join(v for observation in observations for v in iter_values(observation))
    )


def _render_narrative(report: Resource, title: str, read_document: ReadDocument) -> RenderedText:
    divs = [d["div"] for d in as_dicts(report.get("text")) if isinstance(d.get("div"), str)]
    if not divs:
        raise UnreadableError(
            UnreadableReason.EMPTY, "The report has no form, result, conclusion or narrative in the batch."
        )
    found = read_document("html", divs[0].encode("utf-8", "replace"))
    return RenderedText(f"{title}\n\n{found.marked_text}", found.reference_text or "")


def read_attached_form(
    attachments: list[dict[str, Any]], fetch: FetchResource, read_document: ReadDocument
) -> ParsedReport | None:
    """Read the attached form that loses least; None if the batch contains none. Raises UnreadableError."""
    forms, refused = [], None
    for attachment in attachments:
        data, media = _read_attachment(attachment, fetch)
        if data is None:
            continue
        content = decode_base64("".join(data.split()), validate=True)
        try:
            forms.append((FORMAT_BY_KIND[detect_attachment_kind(content, media)], content))
        except UnreadableError as error:
            refused = error
    if forms:
        chosen, content = min(forms, key=lambda form: form[0].loss)
        return read_document(chosen.kind, content)
    if refused is not None:
        raise refused
    return None


def _read_attachment(attachment: dict[str, Any], fetch: FetchResource) -> tuple[str | None, str]:
    media = as_text(attachment.get("contentType"))
    if isinstance(attachment.get("data"), str):
        return attachment["data"], media
    binary = fetch(as_text(attachment.get("url"))) if attachment.get("url") else None
    if binary is not None and isinstance(binary.get("data"), str):
        return binary["data"], as_text(binary.get("contentType")) or media
    return None, media


def render_observation_lines(observation: Resource) -> Iterator[str]:
    """One line for the observation and each component, followed by notes."""
    name = concept_text(observation.get("code"))
    site = concept_text(observation.get("bodySite"))
    shown = " ".join(part for part in (name, f"({site})" if site else "") if part)
    yield f"{shown}: {_render_result(observation)}".removesuffix(": ")
    for component in as_dicts(observation.get("component")):
        yield f"- {concept_text(component.get('code'))}: {_render_result(component)}"
    for note in as_dicts(observation.get("note")):
        if isinstance(note.get("text"), str):
            yield note["text"].strip()


def _render_result(observed: Resource) -> str:
    values = (_render_value(key, item) for key, item in observed.items() if key.startswith("value"))
    value = next((shown for shown in values if shown), "")
    value = value or concept_text(observed.get("dataAbsentReason"))
    spans = [
        span for reference in as_dicts(observed.get("referenceRange")) if (span := _render_reference_range(reference))
    ]
    flags = [f for i in as_dicts(observed.get("interpretation")) if (f := _render_flag(i)) and f not in _NORMAL_FLAGS]
    return " ".join(part for part in (value, f"({'; '.join(spans)})" if spans else "", " ".join(flags)) if part)


def _render_flag(interpretation: dict[str, Any]) -> str:
    codes = [as_text(coding.get("code")) for coding in as_dicts(interpretation.get("coding"))]
    return next((code for code in codes if code), "") or as_text(interpretation.get("text"))


def _render_reference_range(reference: dict[str, Any]) -> str:
    if as_text(reference.get("text")):
        return as_text(reference.get("text"))
    low, high = (_render_quantity(reference.get(end)) for end in ("low", "high"))
    return f"{low} - {high}" if low and high else f">= {low}" if low else f"<= {high}" if high else ""


def _render_value(key: str, value: Any) -> str:
    if key == "valueBoolean":
        return {True: "yes", False: "no"}.get(value, "")
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value).strip()
    if not isinstance(value, dict):
        return ""
    if key in ("valueQuantity", "valueAge", "valueMoney"):
        return _render_quantity(value)
    if key == "valueRange":
        return " - ".join(part for end in ("low", "high") if (part := _render_quantity(value.get(end))))
    if key == "valueRatio":
        return " / ".join(part for end in ("numerator", "denominator") if (part := _render_quantity(value.get(end))))
    if key == "valuePeriod":
        return " - ".join(part for end in ("start", "end") if (part := as_text(value.get(end))))
    return concept_text(value)


def _render_quantity(value: Any) -> str:
    for item in as_dicts(value):
        unit = as_text(item.get("unit")) or as_text(item.get("code"))
        return f"{as_text(item.get('comparator'))}{as_text(item.get('value'))} {unit}".strip()
    return ""


def iter_values(observation: Any) -> Iterator[str]:
    """Yield all scalars in the value elements, at any depth."""
    for key, value in observation.items() if isinstance(observation, dict) else ():
        if key in ("valueQuantity", "valueRange", "valueRatio"):
            yield from _iter_quantities(value)
        elif key in ("valueString", "valueInteger", "valueDateTime", "valueTime"):
            yield as_text(value)
        elif key == "component":
            for component in as_dicts(value):
                yield from iter_values(component)


def _iter_quantities(value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    if "value" in value:
        yield f"{value.get('comparator', '')}{value['value']} {value.get('unit', value.get('code', ''))}"
    for item in value.values():
        yield from _iter_quantities(item)
