"""The sample reports for law and finance: reproducible, readable, correctly labelled, and unlike each other."""

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml

from benchmarks.domain_samples.batch_files import Report
from benchmarks.domain_samples.make import DOMAINS, HERE, Domain, make_reports, write_domain
from benchmarks.domain_samples.markup import Span, mark, remove_marks, wrap_lines
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch

DATA = PROJECT_DIR / "data"
NAMES = [domain.name for domain in DOMAINS]
MAX_BYTES = 1_000_000


@pytest.fixture(scope="module", params=DOMAINS, ids=NAMES)
def domain(request: pytest.FixtureRequest) -> Domain:
    made: Domain = request.param
    return made


@pytest.fixture(scope="module")
def reports(domain: Domain) -> list[Report]:
    return make_reports(domain)


def gold_file(data: Path, domain: Domain) -> Path:
    return data / "evaluation" / f"{domain.name}_phi" / "samples.jsonl"


def batch_folder(data: Path, domain: Domain) -> Path:
    return data / "samples" / domain.name / domain.batch


def values(report: Report, label: str) -> list[str]:
    return [report.text[span.start : span.end] for span in report.spans if span.label == label]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_script_writes_exactly_what_is_committed(domain: Domain, tmp_path: Path) -> None:
    """After changing the data files, run `make domain-samples`."""
    write_domain(domain, tmp_path)
    assert contents(batch_folder(tmp_path, domain)) == contents(batch_folder(DATA, domain))
    assert gold_file(tmp_path, domain).read_bytes() == gold_file(DATA, domain).read_bytes()


def test_writing_again_removes_reports_that_no_longer_exist(tmp_path: Path) -> None:
    """A leftover report would have no gold spans."""
    write_domain(DOMAINS[0], tmp_path)
    leftover = batch_folder(tmp_path, DOMAINS[0]) / "law-999.txt"
    leftover.write_text("old")
    write_domain(DOMAINS[0], tmp_path)
    assert not leftover.exists()


def test_the_platform_reads_each_report_as_its_gold_text(domain: Domain) -> None:
    """Offsets of the gold spans are valid only in the text that the scrubber receives."""
    reading = read_batch(batch_folder(DATA, domain), domain.batch, b"1" * 32, ReadLimits())
    assert reading.unreadable.num_rows == 0
    texts = [text.rstrip("\n") for text in reading.reports["text"].to_pylist()]
    read = dict(zip(reading.reports["report_id"].to_pylist(), texts, strict=True))
    gold = [json.loads(line) for line in gold_file(DATA, domain).read_text(encoding="utf-8").splitlines()]
    assert read == {f"{domain.batch}/{line['id']}": line["text"] for line in gold}
    assert len(gold) == 120


def test_several_reports_share_a_subject(reports: list[Report]) -> None:
    """Otherwise splitting by subject is the same as splitting by report."""
    assert 30 <= len({report.subject_id for report in reports}) <= 60


def test_each_report_has_the_three_sections_of_its_domain(domain: Domain, reports: list[Report]) -> None:
    labels = yaml.safe_load((HERE / domain.name / "passages.yaml").read_text(encoding="utf-8"))
    text, label, sentence = domain.headings
    for report in reports:
        assert set(report.sections) == set(domain.headings)
        assert report.sections[label] in labels
        assert report.sections[sentence].endswith(".")
        assert "\n" not in report.sections[sentence]
        assert len(report.sections[text]) > len(report.sections[sentence])


def test_neither_label_nor_sentence_contains_an_identifier(domain: Domain, reports: list[Report]) -> None:
    """They are the outputs that a model learns."""
    for report in reports:
        for heading in domain.headings[1:]:
            start = re.search(rf"^{heading}:?\n+", report.text, re.MULTILINE).end()
            end = start + len(report.sections[heading])
            assert report.text[start:end] == report.sections[heading]
            assert not [span for span in report.spans if span.start < end and start < span.end]


def test_spans_mark_whole_words_without_overlap(reports: list[Report]) -> None:
    for report in reports:
        for span in report.spans:
            value, around = report.text[span.start : span.end], report.text
            assert value == value.strip() != ""
            assert not (around[span.start - 1 : span.start].isalnum() and value[0].isalnum())
            assert not (around[span.end : span.end + 1].isalnum() and value[-1].isalnum())
        assert all(one.end <= other.start for one, other in itertools.pairwise(report.spans))


def test_a_marked_value_is_marked_wherever_it_occurs(reports: list[Report]) -> None:
    """Single words are exempt: Will, Mark and May are also ordinary words."""
    for report in reports:
        covered = {offset for span in report.spans for offset in range(span.start, span.end)}
        for span in report.spans:
            value = report.text[span.start : span.end]
            if " " in value or (len(value) > 4 and any(c.isdigit() for c in value)):
                for match in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", report.text):
                    assert set(range(*match.span())) <= covered, report.report_id


def test_each_label_is_explained(reports: list[Report]) -> None:
    """SOURCE.md says for each label whether it identifies directly."""
    rows = re.findall(
        r"^\| `([A-Z_]+)` \|.*\| (yes|no) \|$", (DATA / "samples" / "SOURCE.md").read_text(), re.MULTILINE
    )
    assert {span.label for report in reports for span in report.spans} <= {label for label, _ in rows}
    assert ("ORG", "no") in rows


def test_ibans_have_valid_check_digits(reports: list[Report]) -> None:
    """ISO 13616: with the first four characters at the end and letters as numbers from 10, the rest modulo 97 is 1."""
    ibans = [value.replace(" ", "") for report in reports for value in values(report, "IBAN_CODE")]
    assert len(ibans) >= 10
    assert {int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 for iban in ibans} == {1}
    assert {len(iban) for iban in ibans} == {22}


def test_card_numbers_pass_the_luhn_check() -> None:
    cards = [re.sub(r"\D", "", card) for d in DOMAINS for r in make_reports(d) for card in values(r, "CREDIT_CARD")]
    assert len(cards) >= 20
    for card in cards:
        doubled = [int(d) * (1 + n % 2) for n, d in enumerate(reversed(card))]
        assert sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def test_routing_numbers_have_valid_check_digits(reports: list[Report]) -> None:
    """ABA: the digits weighted 3, 7, 1 sum up to a multiple of 10."""
    numbers = [value for report in reports for value in values(report, "ROUTING_NUMBER")]
    assert numbers
    assert {sum(int(d) * w for d, w in zip(n, (3, 7, 1) * 3, strict=True)) % 10 for n in numbers} == {0}


def test_e_mail_addresses_are_at_example_domains(reports: list[Report]) -> None:
    """RFC 2606 reserves these domains, so that no one receives mail."""
    reserved = re.compile(r"[\w.]+@(\w+\.)*(example|example\.(com|org|net))")
    emails = [value for report in reports for value in values(report, "EMAIL")]
    assert len(emails) >= 40
    assert all(reserved.fullmatch(email) for email in emails)


def test_reports_use_many_layouts_and_file_formats(reports: list[Report]) -> None:
    assert len({report.layout for report in reports}) >= 25
    assert {report.format for report in reports} == {"txt", "md", "html", "rtf", "csv", "jsonl"}


def test_each_label_of_a_domain_has_twelve_passages(domain: Domain, reports: list[Report]) -> None:
    label = domain.headings[1]
    counts = {name: sum(r.sections[label] == name for r in reports) for name in {r.sections[label] for r in reports}}
    assert min(counts.values()) >= 12
    assert len(counts) == {"law": 8, "finance": 7}[domain.name]


def test_no_two_reports_share_half_of_their_phrases(reports: list[Report]) -> None:
    """Phrases are five words; the share is of the shorter report. Reports that resemble each other measure one text twice."""
    words = [re.findall(r"\w+", report.text.casefold()) for report in reports]
    phrases = [{tuple(w[n : n + 5]) for n in range(len(w) - 4)} for w in words]
    shares = [len(one & other) / min(len(one), len(other)) for one, other in itertools.combinations(phrases, 2)]
    assert max(shares) <= 0.5


def test_some_reports_contain_no_identifier(reports: list[Report]) -> None:
    """They show whether a scrubber masks what is none."""
    assert sum(not report.spans for report in reports) >= 3


def test_the_samples_stay_small() -> None:
    folders = [DATA / "samples", *(gold_file(DATA, domain).parent for domain in DOMAINS)]
    assert sum(len(content) for folder in folders for content in contents(folder).values()) < MAX_BYTES


def test_marks_become_spans_of_the_plain_text() -> None:
    text, spans = remove_marks(f"To {mark('NAME', 'A. Sampson')}, {mark('ORG', 'Fictitious Ltd')}.")
    assert text == "To A. Sampson, Fictitious Ltd."
    assert spans == (Span(3, 13, "NAME"), Span(15, 29, "ORG"))


def test_wrapping_keeps_every_offset_and_the_kept_line() -> None:
    """A line end replaces one blank, so spans computed before stay valid."""
    text = "  one two three four\nkept line of six words here"
    wrapped = wrap_lines(text, 10, "kept line of six words here")
    assert wrapped == "  one two\nthree four\nkept line of six words here"
    assert len(wrapped) == len(text)
