"""How each kind of task makes instruction, input and output of a report.

Owns the four kinds: sections of a report, its laboratory values, a pair of reports, and sections whose output a model writes.
A report that a task can't use makes no draft of it and is counted; nothing is guessed. No model is called here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from fine_tune_assets.approval.flags import flag
from fine_tune_assets.approval.lab_values import LabValues, abnormal_lines, read_lab_values
from fine_tune_assets.claims.checks import shared_words
from fine_tune_assets.claims.sections import (
    Section,
    find_section,
    headings_of,
    shown_heading,
    split_sections,
    texts_of,
    words_cut_off,
)
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.recipes.schema import FieldTask, ModelTask, PairTask, SectionTask, Task
from fine_tune_assets.tables.approval import ModelDraft
from fine_tune_assets.tables.records import Record

BY_MODEL = "model"
CONTRADICTED = "flag contradicts range"
CUT_SHORT: Final = "may be cut short"
WRITTEN_BY_MODEL = "drafted by a model"


class ReportText(Record):
    """What tasks read of a report."""

    report_id: str
    source: str
    patient_key: str
    text: str


ReadReports = Callable[[], Iterable[ReportText]]
"""Gives the reports of `unique_reports`, each time anew."""
NO_REPORTS: Final[Mapping[str, ReportText]] = MappingProxyType({})


@dataclass(frozen=True)
class Drafted:
    """A draft before it is checked."""

    report_id: str
    source: str
    patient_key: str
    task: str
    instruction: str
    input: str
    output: str
    drafted_by: str
    flags: tuple[str, ...] = ()
    """What the kind of task itself warns of; the checks of text come later."""


@dataclass(frozen=True)
class Request:
    """What a model is asked to write."""

    request: str
    """Fingerprint of task, instruction and input. The same one is never written twice."""
    report_id: str
    patient_key: str
    task: str
    instruction: str
    input: str = field(repr=False)
    max_new_tokens: int


@dataclass(frozen=True)
class Unused:
    """What tasks could not use, by task name; counts only."""

    unread_lab_lines: dict[str, int]
    """Lines with a range that could not be read for certain."""
    without_partner: dict[str, int]
    """Reports of a pair whose other one is not there, is another patient's, or was dropped and with it what it would teach."""
    alone: tuple[tuple[str, str], ...]
    """Of each of these the report, and the id that the other one would have."""


def drafts_by_tasks(
    read: ReadReports,
    tasks: Sequence[Task],
    written: Sequence[ModelDraft],
    dropped_halves: Mapping[str, ReportText] = NO_REPORTS,
) -> Iterator[Drafted]:
    """The drafts of every report by every task, in the order of the reports. `written` are rows of `model_drafts`.

    `dropped_halves` are rows of `scrubbed_reports` that were dropped as duplicates: a note still has its dialogue there.
    """
    outputs = {row.request: row for row in written}
    partners = {**dropped_halves, **_partners(read, tasks)}
    for report in read():
        sections = report_sections(report.text, tasks)
        for task in tasks:
            if isinstance(task, SectionTask):
                yield from _by_sections(report, sections, task)
            elif isinstance(task, FieldTask):
                yield from _by_fields(report, sections, task)
            elif isinstance(task, PairTask):
                yield from _by_pairs(report, partners, task)
            else:
                yield from _by_model(report, sections, task, outputs)


def model_requests(read: ReadReports, tasks: Sequence[Task]) -> Iterator[Request]:
    """What a model has to write for the tasks of that kind."""
    for report in read() if any(isinstance(task, ModelTask) for task in tasks) else ():
        sections = report_sections(report.text, tasks)
        for task in tasks:
            if isinstance(task, ModelTask) and (input_text := _input_of(texts_of(sections), task.input_sections)):
                request = _request_of(task, input_text)
                key, patient = report.report_id, report.patient_key
                yield Request(request, key, patient, task.name, task.instruction, input_text, task.max_new_tokens)


def count_unused(
    read: ReadReports, tasks: Sequence[Task], dropped_halves: Mapping[str, ReportText] = NO_REPORTS
) -> Unused:
    """What a person should know of that made no draft."""
    unread: dict[str, int] = {task.name: 0 for task in tasks if isinstance(task, FieldTask)}
    counts: dict[str, int] = {task.name: 0 for task in tasks if isinstance(task, PairTask)}
    alone: list[tuple[str, str]] = []
    partners = _partners(read, tasks)
    for report in read() if unread or counts else ():
        sections = report_sections(report.text, tasks)
        for task in tasks:
            if isinstance(task, FieldTask):
                unread[task.name] += _lab_values(report, sections, task).unread
            elif isinstance(task, PairTask) and (other := other_half(report.report_id, task)) is not None:
                # Only a note is drafted with a dropped half: a dropped note says what another note says.
                is_note = report.report_id.endswith(task.output_ending)
                partner = partners.get(other) or (dropped_halves.get(other) if is_note else None)
                if partner is None or partner.patient_key != report.patient_key:
                    counts[task.name] += 1
                    alone.append((report.report_id, other))
    return Unused(unread, counts, tuple(alone))


def report_sections(text: str, tasks: Sequence[Task]) -> list[Section]:
    return split_sections(text, named_headings(tasks))


def named_headings(tasks: Iterable[Task]) -> list[str]:
    """Every way in which a task writes a heading, used or not."""
    headings = [heading for task in tasks for heading in (*task.used_headings, *task.other_headings)]
    return [written for heading in headings for written in headings_of(heading)]


def _cut_short(sections: Sequence[Section], task: Task) -> tuple[str, ...]:
    words = words_cut_off(sections, task.used_headings)
    return (flag(CUT_SHORT, f"{words} words after a line in capitals that may be no heading"),) if words else ()


def _by_sections(report: ReportText, sections: Sequence[Section], task: SectionTask) -> Iterator[Drafted]:
    texts = texts_of(sections)
    output = find_section(texts, task.output_section)
    input_text = _input_of(texts, task.input_sections)
    if output is not None and input_text and (not task.labels or output[1] in task.labels):
        yield _drafted(report, task, input_text, output[1], flags=_cut_short(sections, task))


def _input_of(sections: Mapping[str, str], headings: Sequence[Any]) -> str:
    """The input sections in the task's order, with their headings if there are several; empty if one is missing.

    From half of its input a model would only learn to invent the rest: a whole plan after "Headache.".
    """
    found = [(heading, find_section(sections, heading)) for heading in headings]
    if any(section is None for _, section in found):
        return ""
    texts = [(shown_heading(heading, section[0]), section[1]) for heading, section in found if section is not None]
    if len(texts) == 1:
        return texts[0][1]
    return "\n\n".join(f"{heading}\n{text}" for heading, text in texts)


def _by_fields(report: ReportText, sections: Sequence[Section], task: FieldTask) -> Iterator[Drafted]:
    values = _lab_values(report, sections, task).values
    if len(values) < task.minimum_values:
        return
    output = "\n".join(abnormal_lines(values)) or task.answer_if_normal
    contradicted = tuple(f"{CONTRADICTED}: {value.name}" for value in values if value.is_contradicted)
    flags = (*contradicted, *_cut_short(sections, task))
    yield _drafted(report, task, "\n".join(value.line for value in values), output, flags=flags)


def _lab_values(report: ReportText, sections: Sequence[Section], task: FieldTask) -> LabValues:
    by_heading = texts_of(sections)
    found = [find_section(by_heading, heading) for heading in task.sections]
    texts = [section[1] for section in found if section is not None] if task.sections else [report.text]
    return read_lab_values("\n\n".join(texts), task.decimal_commas)


def _by_pairs(report: ReportText, partners: Mapping[str, ReportText], task: PairTask) -> Iterator[Drafted]:
    """The draft belongs to the report that is the output."""
    if not report.report_id.endswith(task.output_ending):
        return
    other = partners.get(str(other_half(report.report_id, task)))
    if other is not None and other.patient_key == report.patient_key:
        yield _drafted(report, task, other.text.strip(), report.text.strip())


def _partners(read: ReadReports, tasks: Sequence[Task]) -> dict[str, ReportText]:
    endings = tuple(e for task in tasks if isinstance(task, PairTask) for e in (task.input_ending, task.output_ending))
    return {row.report_id: row for row in read() if row.report_id.endswith(endings)} if endings else {}


def other_half(report_id: str, task: PairTask) -> str | None:
    """The id of the report that this one would be a pair with; None for one that is neither half."""
    for own, other in ((task.output_ending, task.input_ending), (task.input_ending, task.output_ending)):
        if report_id.endswith(own):
            return report_id.removesuffix(own) + other
    return None


def _by_model(
    report: ReportText, sections: Sequence[Section], task: ModelTask, outputs: Mapping[str, ModelDraft]
) -> Iterator[Drafted]:
    input_text = _input_of(texts_of(sections), task.input_sections)
    written = outputs.get(_request_of(task, input_text)) if input_text else None
    if written is not None and written.output.strip():
        end = "" if written.is_finished else ", cut off"
        by_model = f"{WRITTEN_BY_MODEL}: {written.drafted_by.removeprefix(BY_MODEL).strip()}{end}"
        flags = (by_model, *_cut_short(sections, task))
        yield _drafted(report, task, input_text, written.output.strip(), written.drafted_by, flags)


def _request_of(task: ModelTask, input_text: str) -> str:
    return fingerprint_json([task.name, task.instruction, input_text])


def _drafted(
    report: ReportText, task: Task, input_text: str, output: str, drafted_by: str = "", flags: tuple[str, ...] = ()
) -> Drafted:
    return Drafted(
        report_id=report.report_id,
        source=report.source,
        patient_key=report.patient_key,
        task=task.name,
        instruction=task.instruction,
        input=input_text,
        output=output,
        drafted_by=drafted_by or task.kind,
        flags=(*flags, *_of_another_input(output, f"{task.instruction}\n{input_text}", task)),
    )


def _of_another_input(output: str, given: str, task: Task) -> list[str]:
    """What the fields are made of can't be another report's; every other kind has a floor of its own."""
    floor = 0.0 if isinstance(task, FieldTask) else task.shared_words_floor
    share = shared_words(output, given) if floor else None
    if share is None or share >= floor:
        return []
    return [flag("label noise", "hardly any of its words stand in the input")]
