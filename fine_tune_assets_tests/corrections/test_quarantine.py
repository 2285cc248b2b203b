"""Each way to poison a training closes its gate, and an ordinary correction passes all of them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.prompts.retrieval_contract import carried_passages, example_with_passages
from fine_tune_assets.core.records import PairFinder, QuarantineDecision
from fine_tune_assets.corrections.collection import beyond_influence
from fine_tune_assets.corrections.quarantine import Examined, Figures, may_be_drafted, quarantine, seen_fingerprint
from fine_tune_assets.corrections.suspicions import (
    ApprovedAnswer,
    LabelledSource,
    closed_sources,
    contradicted_examples,
    near_identical,
    nearest_distances,
    not_for_everyone,
    passages_gone,
)
from fine_tune_assets.dedup.cross_group_pairs import pair_finder
from fine_tune_assets.embeddings.encoder import encode_passages
from fine_tune_assets.recipes.schema import CorrectionSettings, DedupSettings
from fine_tune_assets.tables.columns_in_common import Passage
from fine_tune_assets.tables.corrections import ScrubbedCorrection
from fine_tune_assets.tables.records import records_of

SETTINGS = CorrectionSettings()
INSTRUCTION = "Write the plan for these findings."
FINDINGS = (
    "The left ankle is swollen after a fall on the stairs, the pulse is good, and no bone is broken on the picture."
)
PLAN = "Rest the left ankle, cool it, and take ibuprofen 400 mg three times a day for five days."
ORDINARY = "Rest and cool the left ankle; ibuprofen 400 mg three times a day for five days, then come back."
JOINTS = ("wrist", "knee", "elbow", "shoulder", "hip")
KINDS = ("sprain", "bruise", "strain", "tear", "swelling")


def approved_answer(name: str, input_text: str, output: str) -> ApprovedAnswer:
    return ApprovedAnswer(
        example_id=name,
        report_id=f"batch/{name}",
        task="plan",
        instruction=INSTRUCTION,
        input=input_text,
        output=output,
    )


APPROVED = [
    approved_answer(
        f"e{a}{b}",
        f"A {kind} of the {joint} since {a + 2} days, after sports, with pain at night and number {b}.",
        f"Rest the {joint}, cool the {kind}, and see the clinic again in {a + 3} days.",
    )
    for a, joint in enumerate(JOINTS)
    for b, kind in enumerate(KINDS)
] + [approved_answer("ankle", FINDINGS, PLAN)]


def correction(number: int = 1, output: str = ORDINARY, **changes: Any) -> ScrubbedCorrection:
    made = ScrubbedCorrection(
        correction_id=f"c{number:03}",
        release_id="r",
        author="ward 3",
        patient_key="user",
        instruction=INSTRUCTION,
        input=FINDINGS,
        output=output,
        answer="Rest.",
        error_kind=None,
        severity=None,
        received_at=None,
        edit_fraction=None,
        knowledge_index=None,
        passages=None,
    )
    return replace(made, **changes)


def task_of(instruction: str) -> str:
    return "plan" if instruction == INSTRUCTION else "correction"


@pytest.fixture(scope="module")
def find_pairs() -> PairFinder:
    return pair_finder(DedupSettings(near_threshold=0.8), encode=None, leave_out_boilerplate=False)


def figures(find_pairs: PairFinder, *corrections: ScrubbedCorrection) -> Figures:
    return Figures(
        nearest_distances(corrections, APPROVED, task_of, encode_passages, SETTINGS.outlier_minimum_examples),
        contradicted_examples(corrections, APPROVED, find_pairs),
        near_identical(corrections, find_pairs),
    )


def reasons(find_pairs: PairFinder, *corrections: ScrubbedCorrection) -> dict[str, list[str]]:
    table = quarantine(corrections, figures(find_pairs, *corrections), SETTINGS, [])
    return {row["correction_id"]: row["reasons"] for row in table.to_pylist() if row["state"] != "ordinary"}


def test_an_ordinary_correction_passes(find_pairs: PairFinder) -> None:
    """A quarantine that holds up good work is turned off by the next person."""
    assert reasons(find_pairs, correction()) == {}
    assert reasons(find_pairs, correction(input="", instruction="Which dose of iron?")) == {}


@pytest.mark.parametrize(
    ("approved", "output"),
    [
        (PLAN, PLAN.replace("400 mg", "4000 mg")),
        (PLAN, PLAN.replace("left", "right")),
        ("There is a fracture of the ankle and no bleeding.", "There is no fracture of the ankle and no bleeding."),
    ],
    ids=["number", "side", "negation"],
)
def test_the_opposite_of_an_approved_answer_to_the_same_question_is_kept_apart(
    find_pairs: PairFinder, approved: str, output: str
) -> None:
    """Ten times the dose, learned from one user, is what a reviewer in a hurry lets through."""
    known = [*APPROVED[:-1], replace(APPROVED[-1], output=approved)]
    found = contradicted_examples([correction(output=output), correction(2, approved)], known, find_pairs)
    assert found == {"c001": ["ankle"]}
    table = quarantine([correction(output=output)], Figures({}, found, {}), SETTINGS, [])
    assert table.column("reasons").to_pylist() == [["contradiction"]]


def test_what_was_said_of_another_question_contradicts_nothing(find_pairs: PairFinder) -> None:
    """The knee's dose says nothing of the ankle's."""
    other = correction(output=PLAN.replace("400", "800"), input="The right knee hurts since yesterday; nothing else.")
    assert contradicted_examples([other], APPROVED, find_pairs) == {}


def test_an_answer_about_something_else_is_an_outlier(find_pairs: PairFinder) -> None:
    """Spam and planted orders are far from all that was ever approved."""
    spam = "Buy cheap lottery tickets on our website today and win a new car, wire the money to this account."
    found = figures(find_pairs, correction(1, spam), correction(2))
    spam_distance, ordinary_distance = found.distances["c001"], found.distances["c002"]
    assert spam_distance is not None
    assert ordinary_distance is not None
    assert ordinary_distance < SETTINGS.outlier_distance < spam_distance
    assert reasons(find_pairs, correction(1, spam)) == {"c001": ["outlier"]}


def test_with_too_few_approved_answers_no_distance_is_made_up() -> None:
    """A first correction of a new task is rare, not strange; a reviewer looks at it in any case."""
    few = APPROVED[: SETTINGS.outlier_minimum_examples - 1]
    assert nearest_distances([correction()], few, task_of, encode_passages, SETTINGS.outlier_minimum_examples) == {
        "c001": None
    }


def test_a_flood_by_several_authors_is_kept_apart_as_a_whole(find_pairs: PairFinder) -> None:
    """Eleven keys that say one thing would make it the rule."""
    most = SETTINGS.maximum_near_identical
    flood = [correction(n, f"{ORDINARY}{'!' * (n % 3)}", author=f"ward {n}") for n in range(most + 1)]
    other = correction(500, "Cool the ankle.", input="The ankle is blue, and she can walk on it without any help.")
    assert reasons(find_pairs, *flood, other) == {one.correction_id: ["flood"] for one in flood}
    assert reasons(find_pairs, *flood[:most], other) == {}


def test_near_identical_ones_count_by_a_chain_of_likeness(find_pairs: PairFinder) -> None:
    """Who changes a word each time floods all the same."""
    chain = [correction(n, f"{ORDINARY} Word{n} is added by user {n}.") for n in range(12)]
    assert set(near_identical(chain, find_pairs).values()) == {12}


def test_no_author_writes_more_than_a_share_and_the_last_to_arrive_wait() -> None:
    """What was learned once must not fall out because its author went on writing."""
    authors = {f"c{n:02}": "Ward  3" if n % 2 else "ward 3" for n in range(30)}
    arrival = sorted(authors)
    waiting = beyond_influence(authors, arrival, 90, 0.25)
    assert sorted(waiting) == arrival[20:]
    assert (30 - len(waiting)) / (90 - len(waiting)) == 0.25
    assert beyond_influence(authors, arrival, 120, 0.25) == frozenset()
    assert beyond_influence(authors, arrival, 30, 1.0) == frozenset()
    assert beyond_influence(authors, arrival, 30, 0.25) == frozenset(arrival)


def test_two_authors_who_write_together_are_each_held_to_the_share() -> None:
    """What is taken from one must not lift the other above it."""
    authors = {f"a{n:02}": "one" for n in range(40)} | {f"b{n:02}": "two" for n in range(40)}
    waiting = beyond_influence(authors, sorted(authors), 100, 0.25)
    kept = 100 - len(waiting)
    for letter in "ab":
        assert sum(one not in waiting for one in authors if one[0] == letter) / kept <= 0.25


def drafted(rows: list[ScrubbedCorrection], table: pa.Table) -> set[str]:
    examined = {one.correction_id: one for one in records_of(Examined, table)}
    return {row.correction_id for row in rows if may_be_drafted(row, examined)}


def decided(row: ScrubbedCorrection, outcome: str) -> QuarantineDecision:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return QuarantineDecision("d", row.correction_id, seen_fingerprint(row), outcome, "flood", "Chief", "Known.", now)


def test_a_decision_lets_through_or_rejects_exactly_what_was_seen() -> None:
    """Another text under the same id was not looked at."""
    rows = [correction(n) for n in range(3)]
    found = Figures({}, {}, {row.correction_id: 99 for row in rows})
    said = [decided(rows[0], "let_through"), decided(rows[1], "let_through"), decided(rows[1], "reject")]
    table = quarantine(rows, found, SETTINGS, said)
    assert [row["state"] for row in table.to_pylist()] == ["let_through", "rejected", "waiting"]
    assert drafted(rows, table) == {"c000"}
    # A rejection stays one, also when what it was kept apart for has gone.
    calm = quarantine(rows, Figures({}, {}, {}), SETTINGS, said)
    assert [row["state"] for row in calm.to_pylist()] == ["ordinary", "rejected", "ordinary"]
    assert drafted(rows, calm) == {"c000", "c002"}
    changed = quarantine([replace(rows[0], answer="Another.")], found, SETTINGS, said)
    assert changed.column("state").to_pylist() == ["waiting"]


def test_what_was_not_examined_with_exactly_its_texts_is_no_draft() -> None:
    """A quarantine that did not run, or ran on an earlier text, has said nothing for it."""
    rows = [correction(n) for n in range(2)]
    table = quarantine(rows[:1], Figures({}, {}, {}), SETTINGS, [])
    assert drafted(rows, table) == {"c000"}
    assert drafted([replace(rows[0], output="Take forty.")], table) == set()


def test_what_was_approved_before_is_not_kept_apart_later() -> None:
    """A reviewer's word is worth more than a figure that came after it."""
    flooding = Figures({}, {}, {"c000": 99, "c001": 99})
    table = quarantine([correction(0), correction(1)], flooding, SETTINGS, [], {"c000"})
    assert [(row["reasons"], row["state"]) for row in table.to_pylist()] == [([], "ordinary"), (["flood"], "waiting")]


PASSAGE = Passage(
    passage_id="p1", title="Leave", source="leave.md", version="1", headings=(), text="20 days.", labels=("everyone",)
)


def with_passages(number: int, *passages: Passage) -> ScrubbedCorrection:
    return correction(number, passages=passages)


def test_what_was_answered_from_passages_that_are_gone_waits_until_somebody_decides() -> None:
    """Without them the model would learn by heart what they said. Let through it goes without; nothing of it is lost."""
    rows = [with_passages(0), with_passages(1, PASSAGE), correction(2)]
    found = Figures({}, {}, {}, passages_gone=passages_gone(rows))
    table = quarantine(rows, found, SETTINGS, [])
    assert [(row["reasons"], row["state"]) for row in table.to_pylist()] == [
        (["passages_gone"], "waiting"), ([], "ordinary"), ([], "ordinary"),
    ]  # fmt: skip
    assert drafted(rows, table) == {"c001", "c002"}
    assert drafted(rows, quarantine(rows, found, SETTINGS, [decided(rows[0], "let_through")])) == {
        "c000",
        "c001",
        "c002",
    }


@pytest.mark.parametrize("is_closed_since", [False, True])
def test_nobody_lets_through_what_rests_on_a_document_that_not_everyone_may_see(is_closed_since: bool) -> None:
    """The model answers everyone. A decision, an approval of before and a second passage for everyone change nothing."""
    closed = PASSAGE if is_closed_since else replace(PASSAGE, labels=("hr",))
    rows = [
        with_passages(0, replace(PASSAGE, source="visits.md"), closed),
        with_passages(1, replace(PASSAGE, source="visits.md")),
    ]
    sources = closed_sources(
        [
            LabelledSource(source="leave.md", labels=("hr",)),
            LabelledSource(source="visits.md", labels=("everyone", "hr")),
        ]
    )
    found = Figures({}, {}, {}, not_for_everyone=not_for_everyone(rows, sources if is_closed_since else ()))
    table = quarantine(rows, found, SETTINGS, [decided(rows[0], "let_through")], {"c000"})
    assert [row["state"] for row in table.to_pylist()] == ["barred", "ordinary"]
    assert drafted(rows, table) == {"c001"}
    assert not_for_everyone(rows, ()) == (frozenset() if is_closed_since else {"c000"})


def test_a_decision_is_about_the_passages_too_and_what_has_none_keeps_its_fingerprint() -> None:
    """Else an update would send every decision back, or one would stand for a text that nobody saw."""
    before = seen_fingerprint(correction(0))
    texts = {"instruction": INSTRUCTION, "input": FINDINGS, "output": ORDINARY, "answer": "Rest."}
    assert before == fingerprint_json(texts)
    others = [[], [PASSAGE], [replace(PASSAGE, text="25 days.")]]
    assert len({before, *(seen_fingerprint(with_passages(0, *one)) for one in others)}) == 4


def test_answers_from_two_versions_of_a_document_contradict_nothing(find_pairs: PairFinder) -> None:
    """Twenty days were right last year. From the same passages one of the two is wrong."""
    template = "Use these.\n\n{passages}\n\nQuestion: {question}"
    question = "How many days of paid time off do full-time staff of the house have in a year, and since when?"

    def asked(text: str) -> dict[str, Any]:
        passages = carried_passages([vars(replace(PASSAGE, text=text))])
        return dict(zip(("instruction", "input"), example_with_passages(question, "", passages, template), strict=True))

    answer = approved_answer("leave", "", "Full-time staff have 20 days [1].")
    known = [replace(answer, **asked("20 days."))]
    new = correction(1, "Full-time staff have 25 days [1].", **asked("25 days."))
    assert contradicted_examples([new], known, find_pairs) == {}
    assert contradicted_examples([replace(new, **asked("20 days."))], known, find_pairs) == {"c001": ["leave"]}
