"""Builds drafts from reports for each kind of task.

The kinds use sections, pairs of reports, sections or passages about which a model writes an output or questions and answers, and
rows of data sets, which no other kind uses. Of a model's outputs, only those that the verifier supports become drafts. Reports
that a task can't use are counted; nothing is guessed. This module calls no model.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from fine_tune_assets.approval.flags import format_flag
from fine_tune_assets.approval.report_passages import split_passages
from fine_tune_assets.claims.grounding_checks import measure_word_overlap
from fine_tune_assets.claims.inline_headings import break_inline_headings, find_repeated_inline_headings
from fine_tune_assets.claims.repeated_lines import LinedReport, find_repeated_lines
from fine_tune_assets.claims.sections import (
    Layout,
    Section,
    count_cut_off_words,
    find_section,
    format_heading,
    join_section_texts,
    list_heading_variants,
    normalize_heading,
    split_sections,
)
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.dataset_files.row_reports import RowTexts, split_row_report
from fine_tune_assets.recipes.schema import ModelTask, PairTask, RowTask, SectionTask, Task
from fine_tune_assets.tables.approval_rows import ModelDraft, SentenceSource
from fine_tune_assets.tables.common_columns import HeadingLine
from fine_tune_assets.tables.record_classes import Record

BY_MODEL = "model"
TRUNCATED: Final = "possibly truncated"
MODEL_DRAFTED = "model-written"


class ReportText(Record):
    """The columns of a report that tasks read."""

    report_id: str
    source: str
    subject_key: str
    text: str
    headings: tuple[HeadingLine, ...] | None = None


ReadReports = Callable[[], Iterable[ReportText]]
"""Yields the reports of `unique_reports`, from the start on each call."""
NO_REPORTS: Final[Mapping[str, ReportText]] = MappingProxyType({})


@dataclass(frozen=True)
class SectionRules:
    """How reports are split into sections."""

    headings: tuple[str, ...]
    """Every spelling of the tasks' headings."""
    section_names: Collection[str]
    """The known ones of the domain."""
    repeated: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Source → lines that its reports repeat."""
    inline: Mapping[str, frozenset[str]] | None = None
    """Source → headings that its reports repeat with text on their line; None if such lines are text."""

    def split(self, report: ReportText) -> list[Section]:
        """The sections. A row of a data set has none, since its texts may contain headings."""
        if split_row_report(report.text) is not None:
            return [Section("", report.text, is_certain=True)]
        text, levels = report.text, {heading.line: heading.level for heading in report.headings or ()}
        repeated = self.repeated.get(report.source, frozenset())
        if self.inline is not None:
            own = self.inline.get(report.source, frozenset())
            named = {normalize_heading(heading) for heading in self.headings}
            text, levels = break_inline_headings(text, named | own | {*self.section_names}, levels)
            repeated |= own
        return split_sections(text, self.headings, self.section_names, Layout(levels, repeated))


def read_section_rules(read: ReadReports, tasks: Sequence[Task], section_names: Collection[str]) -> SectionRules:
    """The rules for `unique_reports`. Their texts are read once if a task uses sections."""
    uses_sections = any(task.used_headings for task in tasks)
    lined = map(to_lined_report, read() if uses_sections else ())
    inline = None
    if any(task.inline_headings for task in tasks):
        inline = find_repeated_inline_headings((report.source, report.text) for report in read())
    return SectionRules(tuple(list_headings(tasks)), section_names, find_repeated_lines(lined), inline)


def to_lined_report(report: ReportText) -> LinedReport:
    return LinedReport(report.source, report.report_id, report.text, {one.line for one in report.headings or ()})


@dataclass(frozen=True)
class UncheckedDraft:
    """A draft before the checks."""

    report_id: str
    source: str
    subject_key: str
    task: str
    instruction: str
    input: str
    output: str
    drafted_by: str
    flags: tuple[str, ...] = ()
    """Flags from the kind of task; text checks add others later."""
    sources: tuple[SentenceSource, ...] | None = None
    """Source of each sentence, for an output of a model."""
    checked_by: str | None = None


@dataclass(frozen=True)
class DraftRequest:
    """A request for a model to write an output."""

    request_fingerprint: str
    """Fingerprint of task, instruction, questions per report and input; each is written only once."""
    report_id: str
    subject_key: str
    task: str
    instruction: str
    input: str = field(repr=False)
    max_new_tokens: int
    questions: int = 0
    """Number of questions to write and answer; 0 for an answer to the instruction."""


@dataclass(frozen=True)
class UnusedInputs:
    """Inputs that tasks could not use, by task name; counts only."""

    without_partner: dict[str, int]
    """Reports whose partner is missing, belongs to another subject, or was dropped with its content."""
    unpaired_reports: tuple[tuple[str, str], ...]
    """Each such report and the expected id of its partner."""


def draft_reports(
    read: ReadReports,
    tasks: Sequence[Task],
    model_drafts: Sequence[ModelDraft],
    rules: SectionRules,
    dropped_partners: Mapping[str, ReportText] = NO_REPORTS,
) -> Iterator[UncheckedDraft]:
    """Drafts of every report by every task, in report order. `model_drafts` are rows of `model_drafts`.

    `dropped_partners` are rows of `scrubbed_reports` that were dropped as duplicates; a note still uses its dialogue there.
    """
    outputs: dict[str, list[ModelDraft]] = defaultdict(list)
    for written in model_drafts:
        outputs[written.request_fingerprint] += [written] if written.is_supported else []
    partners = {**dropped_partners, **_read_partners(read, tasks)}
    for report in read():
        row = split_row_report(report.text)
        if row is not None:
            yield from _draft_from_row(report, row, tasks)
            continue
        sections = rules.split(report)
        for task in tasks:
            if isinstance(task, SectionTask):
                yield from _draft_from_sections(report, sections, task)
            elif isinstance(task, PairTask):
                yield from _draft_from_pair(report, partners, task)
            elif isinstance(task, ModelTask):
                yield from _draft_from_model(report, sections, task, outputs)


def build_requests(read: ReadReports, tasks: Sequence[Task], rules: SectionRules) -> Iterator[DraftRequest]:
    """The requests of model tasks."""
    model_tasks = [task for task in tasks if isinstance(task, ModelTask)]
    for report in read() if model_tasks else ():
        sections = rules.split(report)
        for task in model_tasks:
            for input_text in _model_inputs(report, sections, task):
                yield DraftRequest(
                    _fingerprint_request(task, input_text),
                    report.report_id,
                    report.subject_key,
                    task.name,
                    task.instruction,
                    input_text,
                    task.max_new_tokens,
                    task.questions_per_report,
                )


def count_unused_inputs(
    read: ReadReports, tasks: Sequence[Task], dropped_partners: Mapping[str, ReportText] = NO_REPORTS
) -> UnusedInputs:
    """Count inputs that made no draft."""
    counts: dict[str, int] = {task.name: 0 for task in tasks if isinstance(task, PairTask)}
    alone: list[tuple[str, str]] = []
    partners = _read_partners(read, tasks)
    for report in read() if counts else ():
        if split_row_report(report.text) is not None:
            continue
        for task in tasks:
            if isinstance(task, PairTask) and (other := partner_id(report.report_id, task)) is not None:
                # Only notes use a dropped partner: a dropped note repeats another note.
                is_note = report.report_id.endswith(task.output_suffix)
                partner = partners.get(other) or (dropped_partners.get(other) if is_note else None)
                if partner is None or partner.subject_key != report.subject_key:
                    counts[task.name] += 1
                    alone.append((report.report_id, other))
    return UnusedInputs(counts, tuple(alone))


def list_headings(tasks: Iterable[Task]) -> list[str]:
    """Every spelling of the tasks' headings, used or not."""
    headings = [heading for task in tasks for heading in (*task.used_headings, *task.other_headings)]
    return [written for heading in headings for written in list_heading_variants(heading)]


def _truncation_flags(sections: Sequence[Section], task: Task) -> tuple[str, ...]:
    words = count_cut_off_words(sections, task.used_headings)
    return (format_flag(TRUNCATED, f"{words} words after a line that may not be a heading"),) if words else ()


def _draft_from_sections(
    report: ReportText, sections: Sequence[Section], task: SectionTask
) -> Iterator[UncheckedDraft]:
    texts = join_section_texts(sections)
    output = find_section(texts, task.output_section)
    input_text = _join_input_sections(texts, task.input_sections)
    if output is not None and input_text and (not task.labels or output[1] in task.labels):
        yield _build_draft(report, task, input_text, output[1], flags=_truncation_flags(sections, task))


def _join_input_sections(sections: Mapping[str, str], headings: Sequence[Any]) -> str:
    """The input sections in task order, with headings if there are several; empty if one is missing.

    With half of its input, a model would learn to invent the rest: a complete plan after "Headache.".
    """
    found = [(heading, find_section(sections, heading)) for heading in headings]
    if any(section is None for _, section in found):
        return ""
    texts = [(format_heading(heading, section[0]), section[1]) for heading, section in found if section is not None]
    if len(texts) == 1:
        return texts[0][1]
    return "\n\n".join(f"{heading}\n{text}" for heading, text in texts)


def _draft_from_pair(
    report: ReportText, partners: Mapping[str, ReportText], task: PairTask
) -> Iterator[UncheckedDraft]:
    """The draft belongs to the report that is the output."""
    if not report.report_id.endswith(task.output_suffix):
        return
    other = partners.get(str(partner_id(report.report_id, task)))
    if other is not None and other.subject_key == report.subject_key:
        yield _build_draft(report, task, other.text.strip(), report.text.strip())


def _read_partners(read: ReadReports, tasks: Sequence[Task]) -> dict[str, ReportText]:
    endings = tuple(e for task in tasks if isinstance(task, PairTask) for e in (task.input_suffix, task.output_suffix))
    return {row.report_id: row for row in read() if row.report_id.endswith(endings)} if endings else {}


def partner_id(report_id: str, task: PairTask) -> str | None:
    """The id of the partner report; None if this report is neither half of a pair."""
    for suffix, other in ((task.output_suffix, task.input_suffix), (task.input_suffix, task.output_suffix)):
        if report_id.endswith(suffix):
            return report_id.removesuffix(suffix) + other
    return None


def _draft_from_model(
    report: ReportText, sections: Sequence[Section], task: ModelTask, outputs: Mapping[str, Sequence[ModelDraft]]
) -> Iterator[UncheckedDraft]:
    for input_text in _model_inputs(report, sections, task):
        for written in outputs.get(_fingerprint_request(task, input_text), ()):
            end = "" if written.is_finished else ", cut off"
            by_model = f"{MODEL_DRAFTED}: {written.drafted_by.removeprefix(BY_MODEL).strip()}{end}"
            flags = (by_model, *_truncation_flags(sections, task))
            draft = _build_draft(
                report, task, input_text, written.output, written.drafted_by, flags, instruction=written.instruction
            )
            yield replace(draft, sources=written.sources, checked_by=written.checked_by)


def _model_inputs(report: ReportText, sections: Sequence[Section], task: ModelTask) -> list[str]:
    """The named sections as one input, or the passages of the report, each once."""
    if split_row_report(report.text) is not None or (task.sources and report.source not in task.sources):
        return []
    if not task.input_sections:
        return list(dict.fromkeys(split_passages(report.text, task.words_per_passage)))
    joined = _join_input_sections(join_section_texts(sections), task.input_sections)
    return [joined] if joined else []


def _draft_from_row(report: ReportText, row: RowTexts, tasks: Sequence[Task]) -> Iterator[UncheckedDraft]:
    for task in tasks:
        if isinstance(task, RowTask) and (not task.sources or report.source in task.sources):
            instruction, input_text = row.instruction, row.input
            if task.instruction:
                # A row that is a question alone keeps it as its input.
                instruction, input_text = task.instruction, row.input or row.instruction
            yield _build_draft(report, replace(task, instruction=instruction), input_text, row.output)


def _fingerprint_request(task: ModelTask, input_text: str) -> str:
    asked = [task.questions_per_report] if task.questions_per_report else []
    return fingerprint_json([task.name, task.instruction, *asked, input_text])


def _build_draft(
    report: ReportText,
    task: Task,
    input_text: str,
    output: str,
    drafted_by: str = "",
    flags: tuple[str, ...] = (),
    *,
    instruction: str = "",
) -> UncheckedDraft:
    return UncheckedDraft(
        report_id=report.report_id,
        source=report.source,
        subject_key=report.subject_key,
        task=task.name,
        instruction=instruction or task.instruction,
        input=input_text,
        output=output,
        drafted_by=drafted_by or task.kind,
        flags=(*flags, *_mismatch_flags(output, f"{instruction or task.instruction}\n{input_text}", task)),
    )


def _mismatch_flags(output: str, given: str, task: Task) -> list[str]:
    share = measure_word_overlap(output, given) if task.shared_words_floor else None
    if share is None or share >= task.shared_words_floor:
        return []
    return [format_flag("label noise", "the output shares hardly any words with the input")]
