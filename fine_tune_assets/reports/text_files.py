"""Reports that are a text file each: front matter in YAML between two `---` lines, then the report.

Owns the form of the front matter. Its keys are those of facts.py.
"""

from fine_tune_assets.reports.contents import decode
from fine_tune_assets.reports.facts import BadFactsError, Facts, parse_facts
from fine_tune_assets.reports.found import Found
from fine_tune_assets.reports.quarantine import Reason, UnreadableError

_FENCE = "---"


def read_text_report(content: bytes) -> Found:
    """The report in a text file. Raises UnreadableError."""
    facts, text = split_front_matter(decode(content))
    if not text.strip():
        raise UnreadableError(Reason.EMPTY, "There is nothing below its front matter.")
    return Found(text, facts)


def split_front_matter(text: str) -> tuple[Facts, str]:
    """The facts in the front matter, none if there is none, and the rest. Raises UnreadableError."""
    first, _, rest = text.partition("\n")
    if first.rstrip() != _FENCE:
        return Facts(), text
    lines = rest.split("\n")
    end = next((number for number, line in enumerate(lines) if line.rstrip() == _FENCE), None)
    if end is None:
        raise _bad("Its front matter has no closing --- line.")
    try:
        return parse_facts("\n".join(lines[:end])), "\n".join(lines[end + 1 :])
    except BadFactsError as error:
        raise _bad(str(error)) from error


def _bad(detail: str) -> UnreadableError:
    return UnreadableError(Reason.BAD_FRONT_MATTER, f"The front matter can't be used. {detail}")
