"""Writes the synthetic sample reports for law and finance, and the gold spans of their identifiers.

    make domain-samples

The same data files and seed write the same bytes. data/samples/SOURCE.md describes the result.
"""

import argparse
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from benchmarks.domain_samples.batch_files import TABLE_FORMATS, Report, format_jsonl, write_batch
from benchmarks.domain_samples.cases import REGIONS, Body, Slots, finance_slots, law_slots, stated_sex
from benchmarks.domain_samples.markup import remove_marks, wrap_lines
from benchmarks.domain_samples.people import Contact, Person, Population, load_shared

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "data"
SEED = "2026-05"


@dataclass(frozen=True)
class Subject:
    subject_id: str
    contact: Contact
    """The client or account holder."""
    person: Person
    """The same, or the person who speaks for a company."""

    @property
    def kind(self) -> str:
        return "person" if isinstance(self.contact, Person) else "company"


@dataclass(frozen=True)
class Domain:
    name: str
    batch: str
    headings: tuple[str, str, str]
    """The text, its label and the sentence that summarizes it."""
    label_slot: str
    sentence_slot: str
    number_kind: str
    draw_subjects: Callable[[Population, Random], list[Subject]]
    draw_slots: Callable[[Mapping[str, Any], Subject, Population, Random], Slots]


def draw_clients(population: Population, rng: Random) -> list[Subject]:
    """Five persons and five companies of each region."""
    companies = load_shared("companies")["companies"]
    subjects = []
    for region in REGIONS:
        people = [population.draw_person(rng, region) for _ in range(10)]
        subjects += [Subject("", person, person) for person in people[:5]]
        subjects += [
            Subject("", population.draw_company(rng, region, name), person)
            for name, person in zip(rng.sample(companies[region], 5), people[5:], strict=True)
        ]
    return _number_subjects("client", subjects)


def draw_holders(population: Population, rng: Random) -> list[Subject]:
    """Six women and six men of each region."""
    people = [population.draw_person(rng, region, is_female=n % 2 == 0) for region in REGIONS for n in range(12)]
    return _number_subjects("holder", [Subject("", person, person) for person in people])


def _number_subjects(prefix: str, subjects: Iterable[Subject]) -> list[Subject]:
    return [Subject(f"{prefix}-{n:03d}", s.contact, s.person) for n, s in enumerate(subjects, start=1)]


DOMAINS = (
    Domain(
        "law",
        "2026-05-clauses",
        ("CLAUSE", "CLAUSE TYPE", "OBLIGATION"),
        "type",
        "obligation",
        "client_number",
        draw_clients,
        lambda _, subject, population, rng: law_slots(subject.contact, subject.person, population, rng),
    ),
    Domain(
        "finance",
        "2026-05-complaints",
        ("COMPLAINT", "PRODUCT", "ISSUE"),
        "product",
        "issue",
        "customer_number",
        draw_holders,
        lambda passage, subject, population, rng: finance_slots(passage, subject.person, population, rng),
    ),
)


def make_reports(domain: Domain) -> list[Report]:
    layouts, passages = _load(domain, "layouts"), _load(domain, "passages")
    rng = Random(f"{SEED}/{domain.name}")
    population = Population(domain.number_kind)
    subjects = {subject.subject_id: subject for subject in domain.draw_subjects(population, rng)}
    entries = [(label, passage) for label, group in passages.items() for passage in group]
    rng.shuffle(entries)
    uses: Counter[str] = Counter()
    reports = []
    for number, (label, passage) in enumerate(entries, start=1):
        own = Random(f"{SEED}/{domain.name}/{number}")
        subject_id = _least_used((s for s in subjects if _fits(passage, subjects[s])), uses, own)
        subject = subjects[subject_id]
        layout = _least_used((name for name in layouts if _carries(layouts[name], name, passage, subject)), uses, own)
        slots = {
            **domain.draw_slots(passage, subject, population, own),
            domain.label_slot: label,
            domain.sentence_slot: passage[domain.sentence_slot],
        }
        reports.append(
            _render(domain, f"{domain.name}-{number:03d}", subject_id, layout, layouts[layout], passage, slots)
        )
    return reports


def _load(domain: Domain, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((HERE / domain.name / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def _fits(passage: Mapping[str, Any], subject: Subject) -> bool:
    """Whether a passage can be about a subject: its kind, its region and its sex, as far as the text states them."""
    sex = stated_sex("holder", passage.get("female", ()), passage.get("male", ()))
    return (
        passage.get("client", subject.kind) == subject.kind
        and passage.get("region", subject.contact.region) == subject.contact.region
        and sex in (None, subject.person.is_female)
    )


def _carries(layout: Mapping[str, Any], name: str, passage: Mapping[str, Any], subject: Subject) -> bool:
    return (
        passage.get("layout", name) == name
        and passage["voice"] in layout["accepts"]
        and layout.get("client", subject.kind) == subject.kind
    )


def _least_used(names: Iterable[str], uses: Counter[str], rng: Random) -> str:
    candidates = list(names)
    fewest = min(uses[name] for name in candidates)
    chosen = rng.choice([name for name in candidates if uses[name] == fewest])
    uses[chosen] += 1
    return chosen


def _render(
    domain: Domain,
    report_id: str,
    subject_id: str,
    layout_name: str,
    layout: Mapping[str, Any],
    passage: Mapping[str, Any],
    slots: Slots,
) -> Report:
    sentences = [line.format(**slots) for line in passage["text"].strip().split("\n")]
    filled = {**slots, "body": Body(sentences, slots["section"])}
    template = layout["text"].strip()
    if layout["format"] in TABLE_FORMATS:
        text_heading, label_heading, sentence_heading = domain.headings
        template = (
            f"{text_heading}\n\n{template}\n\n{label_heading}\n\n{{{domain.label_slot}}}"
            f"\n\n{sentence_heading}\n\n{{{domain.sentence_slot}}}"
        )
    text, spans = remove_marks(template.format(**filled))
    text = wrap_lines(text, layout["wrap"], passage[domain.sentence_slot]) if "wrap" in layout else text
    return Report(
        report_id,
        subject_id,
        layout_name,
        layout["format"],
        text,
        spans,
        split_headings(text, domain.headings),
        {key: remove_marks(value.format(**filled))[0] for key, value in layout.get("metadata", {}).items()},
    )


def split_headings(text: str, headings: Sequence[str]) -> dict[str, str]:
    """The text below each heading line, in the order of the text."""
    parts = re.split(rf"^({'|'.join(map(re.escape, headings))}):?$", text, flags=re.MULTILINE)
    return {heading: body.strip() for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def gold_line(report: Report) -> dict[str, object]:
    return {"id": report.report_id, "text": report.text, "spans": [asdict(span) for span in report.spans]}


def write_domain(domain: Domain, data: Path) -> None:
    """Replace the batch folder and the gold spans of a domain below a data folder."""
    reports = make_reports(domain)
    folder = data / "samples" / domain.name / domain.batch
    shutil.rmtree(folder, ignore_errors=True)
    write_batch(folder, reports, f"{domain.name}-samples")
    gold = data / "evaluation" / f"{domain.name}_phi" / "samples.jsonl"
    gold.parent.mkdir(parents=True, exist_ok=True)
    gold.write_text(format_jsonl(map(gold_line, reports)), encoding="utf-8", newline="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="data folder to write to")
    data = parser.parse_args().data
    for domain in DOMAINS:
        write_domain(domain, data)


if __name__ == "__main__":
    main()
