"""Reports of a domain that no shipped set covers."""

from fine_tune_assets.judging.judges.grades import GradableAnswer
from fine_tune_assets.judging.judges.planted_errors.own_errors import OwnExample

WOODS = ("Larch", "Maple", "Alder", "Beech", "Rowan", "Birch")
STATES = ("damaged", "polished", "warped", "cracked", "painted", "stained")


def harbour_reports(count: int) -> list[OwnExample]:
    """About moorings: a domain that no shipped list names."""
    found = []
    for number in range(count):
        wood, state, length = WOODS[number % 6], STATES[(number // 2) % 6], 11 + number
        record = (
            f"Berth {number} has a jetty of {wood}. It measures {length} metres and stands before the left breakwater.\n"
            f"Inspected in March, the deck was {state}; {length + 3} planks were {state} below the water line."
        )
        answer = (
            f"The {wood} jetty measures {length} metres. It stands before the left breakwater. The deck was {state} in March. "
            f"In all, {length + 3} planks of berth {number} were {state}."
        )
        found.append(
            OwnExample(f"berth {number}", GradableAnswer(str(number), "berth", "Sum up.", record, answer, None))
        )
    return found
