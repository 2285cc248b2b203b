"""What the demo of the loop corrects: a rule on the sample's own texts, and dialogues that are shared out once."""

import pytest

from fine_tune_assets.cli.loop.handovers import Shares, handover_of, is_right, read_visits, share_out
from fine_tune_assets.cli.loop.installation import VISITS

_ROW = {"report_id": "v-1", "section_name": "medications"}


def _row(dialogue: str) -> dict[str, str]:
    return {**_ROW, "dialogue": dialogue}


@pytest.fixture(scope="module")
def shares() -> Shares:
    return share_out(read_visits(VISITS), reported=85, corrected=40, only_asked=12)


def test_the_line_is_made_of_nothing_but_the_text() -> None:
    """Section, teller, and that person's own first words."""
    found = handover_of(_row("Doctor: And your medicines?\nPatient: I only take iron in the morning.\nDoctor: Good."))
    assert found is not None
    assert found.line == "Handover: medications. Told by: patient. Own words: I only take iron in the morning."


@pytest.mark.parametrize(
    "dialogue",
    [
        "Doctor: Only the doctor speaks here, for all of the visit.",
        "Doctor: Well?\nPatient: Yes.",
        "Doctor: Well?\nPatient: I take 20 milligrams of it each morning.",
        "Doctor: Well?\nPatient: It was removed in two thousand and four.",
        "Doctor: Well?\nGuest_clinician: He is fine to go home tomorrow morning.",
        "Doctor: Well?\nPatient: I only take iron in the morning.\n" + "Doctor: Go on.\n" * 40,
    ],
)
def test_what_the_rule_says_nothing_about_is_left_out(dialogue: str) -> None:
    """A line that somebody would have to guess would teach a guess."""
    assert handover_of(_row(dialogue)) is None


def test_an_answer_is_right_word_for_word() -> None:
    """Nearly right does not count: the demo would then prove nothing."""
    found = handover_of(_row("Doctor: Well?\nPatient: I only take iron in the morning."))
    assert found is not None
    assert is_right(found.line.upper().replace(".", " ."), found)
    assert not is_right(found.line.replace("iron", "zinc"), found)
    assert not is_right(found.line + " Iron.", found)
    assert not is_right("", found)


def test_the_sample_is_enough_and_no_dialogue_is_used_twice(shares: Shares) -> None:
    """What is asked before and after must not be among what was taught."""
    ids = [
        *(row["report_id"] for row in shares.reported),
        *(handover.visit_id for handover in (*shares.corrected, *shares.only_asked)),
    ]
    assert (len(shares.reported), len(shares.corrected), len(shares.only_asked)) == (85, 40, 12)
    assert len(set(ids)) == len(ids)
    assert "Told by: patient." in shares.only_asked[0].line
    assert len({handover.input for handover in (*shares.corrected, *shares.only_asked)}) == 52


def test_each_line_can_be_checked_in_the_dialogue(shares: Shares) -> None:
    """A reviewer finds every word of it in the question."""
    for handover in (*shares.corrected, *shares.only_asked):
        assert handover.line.partition("Own words: ")[2] in handover.input
        assert handover.line.partition("Handover: ")[2].partition(".")[0] in handover.input
