"""Records of a data set: what a row contains, or why it is refused. Texts are in no repr, because a repr can end up in logs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.prompts.conversations import user_content


class Refusal(StrEnum):
    """Why a row is refused. The values are shown to people."""

    NOT_JSON = "not JSON"
    NOT_CSV = "not CSV"
    NOT_UTF8 = "not UTF-8"
    NOT_AN_OBJECT = "not an object"
    TOO_LARGE = "too large"
    TOO_DEEP = "nested too deeply"
    INVALID_VALUE = "NaN, huge number, repeated key or damaged value"
    COLUMN_COUNT = "wrong number of columns"
    MISSING_COLUMN = "missing column"
    WRONG_TYPE = "wrong type"
    NUL = "NUL character"
    SURROGATE = "lone surrogate"
    EMPTY = "empty"
    TURN_ORDER = "turns out of order"
    UNKNOWN_ROLE = "unknown role"
    TOOL_CALL = "tool call"
    MEDIA = "image or other media"
    NO_TEMPLATE = "no Alpaca template"
    NO_SUBJECT = "no subject"
    SEVERAL_TURNS = "several turns"
    """Drafts have one question and one answer."""
    PREFERENCE_PAIR = "preference pair"
    """No draft can have two answers."""
    MARKER_LINE = "line that marks a part of a row"


class DatasetError(FineTuneError):
    """A data set can't be read as a whole. The message names files, rows and columns, never their text."""


class RowRefusedError(Exception):
    """Raised within this package for a row that is refused."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Turn:
    role: str
    """`user`, `assistant` or `system`."""
    content: str = field(repr=False)


@dataclass(frozen=True)
class Conversation:
    """A conversation that ends with an answer. Texts are not trimmed."""

    instruction: str = field(repr=False)
    input: str = field(repr=False)
    """Empty if there is none."""
    output: str = field(repr=False)
    history: tuple[Turn, ...] = ()
    """Earlier turns: user and assistant in turn."""
    system: str | None = field(default=None, repr=False)
    kind: str | None = field(default=None, repr=False)
    """The category that the data set states."""

    @property
    def question(self) -> str:
        return user_content(self.instruction, self.input)


TextOrTurns = str | tuple[Turn, ...]


@dataclass(frozen=True)
class PreferencePair:
    """A row with a preferred and a rejected answer. It is stored, but no training uses preferences yet."""

    chosen: TextOrTurns = field(repr=False)
    rejected: TextOrTurns = field(repr=False)
    prompt: TextOrTurns | None = field(default=None, repr=False)
    """None: both answers are whole conversations."""


@dataclass(frozen=True)
class DatasetRow:
    file: str
    """Relative to the folder that was read."""
    number: int
    """Counts from 1: the line of JSON Lines, or the row after a header. Instances of a Self-Instruct task share it."""
    content: Conversation | PreferencePair | Refusal
    subject: str | None = field(default=None, repr=False)
    """Who or what the row is about, if a column names it."""


class DatasetCounts:
    """Counts rows while they pass."""

    def __init__(self) -> None:
        self.rows = self.single_turn = self.multi_turn = self.preference_pairs = 0
        self.refused: Counter[str] = Counter()
        self.longest_question = self.longest_answer = 0
        """In characters, of the last turns."""

    def count(self, rows: Iterable[DatasetRow]) -> "DatasetCounts":
        for row in rows:
            self.add(row)
        return self

    def add(self, row: DatasetRow) -> None:
        self.rows += 1
        match row.content:
            case Refusal() as reason:
                self.refused[reason.value] += 1
            case PreferencePair():
                self.preference_pairs += 1
            case Conversation() as found:
                self.multi_turn += bool(found.history)
                self.single_turn += not found.history
                self.longest_question = max(self.longest_question, len(found.question))
                self.longest_answer = max(self.longest_answer, len(found.output))

    @property
    def conversations(self) -> int:
        return self.single_turn + self.multi_turn

    @property
    def facts(self) -> dict[str, object]:
        """For people and programs. `rows` is the sum of conversations, preference pairs and refused rows."""
        return {
            "rows": self.rows,
            "conversations": self.conversations,
            "single_turn": self.single_turn,
            "multi_turn": self.multi_turn,
            "preference_pairs": self.preference_pairs,
            "refused": sum(self.refused.values()),
            "refused_by_reason": dict(sorted(self.refused.items())),
            "longest_question": self.longest_question,
            "longest_answer": self.longest_answer,
        }
