"""What the verifier sees: planted errors and clinicians' ratings, with word overlap alone as the baseline, in one run.

    python benchmarks/bench_verifier.py [--verifier FOLDER] [--reports FILE.jsonl ...]

Prints (1) planted errors by kind, with the record and without it (blind control), in references of both halves of the rated
dialogues; (2) agreement with clinicians on both halves, by criterion and overall; (3) errors that were planted by hand into notes
and abstracts of other sources (`data/evaluation/planted_notes`); (4) each rule of the judge on the right and wrong statements of
these; (5) statements by kind of error on the demo's dialogues, which no verifier was trained on, or `--reports`; (6) statements
read per second. The last line is JSON.
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from rich.console import Console
from rich.table import Table

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.judging.judges.grades import GradableAnswer, Grade
from fine_tune_assets.judging.judges.labelled_sets import FITTED_SUMMARIES, RatedAnswer, read_rated_summaries
from fine_tune_assets.judging.judges.planted_errors.error_detection import measure_planted_errors
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.rule_evidence import RULE_WEIGHTS, RuleFindings, find_rule_evidence
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.judging.judges.statement_readers import Claim
from fine_tune_assets.judging.judges.verifier.record_passages import split_statements
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import BLIND_RECORD, Report
from fine_tune_assets.judging.judges.verifier.training_reports import read_reports
from fine_tune_assets.judging.judges.verifier.verifier_builds import measure_reports
from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
from fine_tune_assets.judging.judges.word_overlap import word_overlap
from fine_tune_assets.judging.judges.word_overlap_fit import is_training_dialogue
from fine_tune_assets.judging.statistics.association import auroc, bootstrap_interval, spearman
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import iter_records

RATED = PROJECT_DIR / "data" / "evaluation" / "judge" / "rated_summaries.csv"
NOTES = PROJECT_DIR / "data" / "evaluation" / "planted_notes"
VISITS = PROJECT_DIR / "data" / "raw_reports" / "2026-02-dialogues" / "visits.csv"
MEASURES = ("FactualPrecision", "HallucinationRate", "FactualRecall", "FactualF1", "OmissionRate")
THREADS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verifier", default="", help="folder of another verifier")
    parser.add_argument("--reports", type=Path, action="append", default=[], help="unseen reports, as JSONL")
    given = parser.parse_args()
    rubric, rated = read_rubric("clinical", "clinical"), read_rated_summaries(RATED)
    reader = open_verifier(given.verifier, THREADS)
    judge = StatementJudge("verifier", reader, rubric)
    planted = list(iter_records(JudgeAgreement, measure_planted_errors(judge, rated, rubric, ignore_progress)))
    people = {}
    for half in ("unseen", "fitted"):
        rows = [row for row in rated.rows if is_training_dialogue(row) == (half == "fitted")]
        answers = [row.answered for row in rows]
        overlaps = [Grade(score, "") for score in word_overlap().grade(answers)]
        people[f"word overlap, {half}"] = agreement(overlaps, rows)
        people[f"verifier, {half}"] = agreement(judge.grade(answers, ignore_progress), rows)
    notes = grade_notes(judge)
    rules = count_rules(judge)
    reports = read_reports(given.reports) if given.reports else demo_reports()
    kinds = measure_reports(reader, reports)
    speed = statements_per_second(reader, reports)
    console = Console(stderr=True)
    show_planted(console, planted)
    show_shares(console, planted)
    show_people(console, people)
    show_notes(console, notes)
    show(console, "Statements in which a rule finds something", ("rule", "right", "wrong"),
         [(name, *shares) for name, shares in rules.items()])  # fmt: skip
    show(console, f"Statements of {len(reports)} unseen dialogues", ("kind", "AUROC", "without the record", "wrong"),
         [(one.kind, one.auroc, one.blind_auroc, one.wrong) for one in kinds])  # fmt: skip
    console.print(f"{speed:.0f} statements per second on {THREADS} threads")
    print(
        json.dumps(
            {
                "planted": {
                    f"{row.labelled_set} {row.human_measure}": [row.auroc, row.blind_auroc, row.answer_count]
                    for row in planted
                    if row.auroc is not None
                },
                "people": people,
                "notes": notes,
                "rules": rules,
                "statements": {one.kind: [one.auroc, one.blind_auroc, one.wrong] for one in kinds},
                "statements_per_second": round(speed, 1),
            }
        )
    )  # fmt: skip


def grade_notes(judge: StatementJudge) -> dict[str, dict[str, float]]:
    """Kind of error → figures of the accuracy grade before and after the error, with the record and with an unrelated one."""
    cases, records = read_notes("errors.jsonl")
    right, wrong = (accuracy(judge, cases, records, name) for name in ("right", "wrong"))
    blind = [accuracy(judge, cases, {}, name) for name in ("right", "wrong")]
    kinds = np.array([case["kind"] for case in cases])
    found: dict[str, dict[str, float]] = {}
    for kind in (*sorted(set(kinds)), "all"):
        at = np.flatnonzero((kinds == kind) | (kind == "all"))
        groups = [cases[row]["record"] for row in at]
        before, after = right[at], wrong[at]
        lowered = bootstrap_interval(lambda i, a=after, b=before: float((a[i] < b[i]).mean()), groups)
        assert lowered is not None
        found[kind] = {
            "errors": len(at),
            "lowered": round(lowered.value, 3),
            "low": round(lowered.low, 3),
            "high": round(lowered.high, 3),
            "raised": round(float((after > before).mean()), 3),
            "AUROC": round(auroc(before, after), 3),
            "without the record": round(auroc(blind[0][at], blind[1][at]), 3),
        }
    rewrites, records = read_notes("rewrites.jsonl")
    before, after = (accuracy(judge, rewrites, records, name) for name in ("right", "rewrite"))
    lost = before - after
    found["true rewrites"] = {"errors": len(lost), "lowered": round(float((lost > 1).mean()), 3)}
    return found


def read_notes(name: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The cases of a file, and the records by id."""
    cases, records = (
        [json.loads(line) for line in (NOTES / file).read_text(encoding="utf-8").splitlines()]
        for file in (name, "records.jsonl")
    )
    return cases, {record["id"]: record["text"] for record in records}


def accuracy(judge: StatementJudge, cases: Sequence[dict[str, str]], records: dict[str, str], name: str) -> Any:
    answers = [
        GradableAnswer(
            case["id"], "note", "Write the note.", records.get(case["record"], BLIND_RECORD), case[name], None
        )
        for case in cases
    ]
    return np.array([score_of(grade, "factual_accuracy") for grade in judge.grade(answers, ignore_progress)])


def count_rules(judge: StatementJudge) -> dict[str, list[float]]:
    """Rule → share of right and of wrong statements of the notes in which it finds something."""
    cases, records = read_notes("errors.jsonl")
    statements: dict[str, list[RuleFindings]] = {"right": [], "wrong": []}
    for case in cases:
        record, own = records[case["record"]], set(split_statements(case["right"]))
        for name, found in statements.items():
            parts = [one for one in split_statements(case[name]) if name == "right" or one not in own]
            found += find_rule_evidence(case[name], record, parts, judge.checks)
    return {
        rule: [round(sum(rule in one.rules for one in found) / len(found), 4) for found in statements.values()]
        for rule in RULE_WEIGHTS
    }


def show_notes(console: Console, notes: dict[str, dict[str, float]]) -> None:
    names = ("errors", "lowered", "low", "high", "raised", "AUROC", "without the record")
    show(
        console,
        "Errors planted by hand into notes and abstracts of other sources (accuracy grade)",
        ("kind", *names),
        [(kind, *(values.get(name) for name in names)) for kind, values in notes.items()],
    )


def agreement(grades: Sequence[Grade], rows: Sequence[RatedAnswer]) -> dict[str, Any]:
    """Grade → human measure → rank correlation, and the share of pairs of one dialogue in people's order."""
    found: dict[str, Any] = {}
    for name in ("overall", *sorted({criterion for grade in grades for criterion in grade.criteria})):
        scores = np.array([score_of(grade, name) for grade in grades])
        if np.isnan(scores).any():
            continue
        found[name] = {
            measure: round(spearman(scores, np.array([row.ratings[measure] for row in rows])), 3)
            for measure in MEASURES
        }
        found[name] |= order_interval(scores, rows)
    return found


def score_of(grade: Grade, name: str) -> float:
    value = grade.score if name == "overall" else grade.criteria[name].score if name in grade.criteria else None
    return float("nan") if value is None else value


def order_interval(scores: Any, rows: Sequence[RatedAnswer]) -> dict[str, float]:
    """Share of pairs about one dialogue that the grades order as people's factual F1 does; ties count half."""
    right, groups = [], []
    for a, b in combinations(range(len(rows)), 2):
        difference = rows[a].ratings["FactualF1"] - rows[b].ratings["FactualF1"]
        if rows[a].group == rows[b].group and difference:
            right.append(0.5 if scores[a] == scores[b] else float((scores[a] - scores[b]) * difference > 0))
            groups.append(rows[a].group)
    values = np.array(right)
    interval = bootstrap_interval(lambda rows: float(values[rows].mean()), groups)
    low, high = (interval.low, interval.high) if interval else (float("nan"), float("nan"))
    return {"in order": round(float(values.mean()), 3), "low": round(low, 3), "high": round(high, 3)}


def demo_reports() -> list[Report]:
    """The demo's dialogues with their sections; the verifier's leakage certificate excludes them from training."""
    with VISITS.open(encoding="utf-8", newline="") as file:
        return [
            Report(str(number), row["dialogue"], row["section_text"]) for number, row in enumerate(csv.DictReader(file))
        ]


def statements_per_second(reader: Any, reports: Sequence[Report]) -> float:
    claims = [Claim(report.record, line) for report in reports for line in report.note.split(". ") if line.strip()]
    reader.read(claims[:8], ignore_progress)  # loads the model
    start = time.perf_counter()
    reader.read(claims, ignore_progress)
    return len(claims) / (time.perf_counter() - start)


def show_planted(console: Console, rows: Sequence[JudgeAgreement]) -> None:
    found = [row for row in rows if row.auroc is not None]
    show(
        console,
        "Verifier: planted errors in otherwise right answers (accuracy grade)",
        ("half", "kind", "AUROC", "95 %", "without the record", "lowered", "raised", "errors"),
        [
            (
                "fitted" if row.labelled_set == FITTED_SUMMARIES else "unseen",
                row.human_measure,
                row.auroc,
                f"{row.auroc_low:.2f} to {row.auroc_high:.2f}",
                row.blind_auroc,
                row.lowered_share,
                row.raised_share,
                row.answer_count,
            )
            for row in found
        ],
    )


def show_shares(console: Console, planted: Sequence[JudgeAgreement]) -> None:
    show(
        console,
        "Overall grade after a change",
        ("change", "graded up", "graded down by more than a point", "answers"),
        [
            (row.human_measure, row.graded_up_share, row.graded_down_share, row.answer_count)
            for row in planted
            if row.graded_up_share is not None or row.graded_down_share is not None
        ],
    )


def show_people(console: Console, people: dict[str, dict[str, Any]]) -> None:
    show(
        console,
        "Agreement with clinicians (Spearman), by half of the rated dialogues",
        ("judge", "grade", *MEASURES, "pairs in order", "95 %"),
        [
            (
                judge,
                name,
                *(values[measure] for measure in MEASURES),
                values["in order"],
                f"{values['low']} to {values['high']}",
            )
            for judge, grades in people.items()
            for name, values in grades.items()
        ],
    )


def show(console: Console, title: str, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(*headers, title=title)
    for row in rows:
        table.add_row(
            *("–" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row)
        )
    console.print(table)


if __name__ == "__main__":
    main()
