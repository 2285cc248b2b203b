"""Runs a target on inputs that Hypothesis makes from a corpus. One with a new outcome joins the corpus, one that fails is saved.

A case fails if the target raises, or takes more CPU time than a limit, by default CASE_SECONDS.
"""

import hashlib
import itertools
import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

CASE_SECONDS = 5.0
SEEDS = Path(__file__).with_name("seeds.yaml")
MAX_TIMES = 2000
_ROUND_CASES = 100
_JUNK = [
    *(bytes([byte]) for byte in b"\x00\xff\"'\\{}[]\n\r\t -.,"),
    *(b"1e999", b"\\ud800", b"\xe2\x80\xae", b"null", b"../", b"__typename", b"A.", b"Mr. ", b"https://", b"1/1/24 "),
]


class SlowCaseError(Exception):
    """The case takes more CPU time than its limit."""


@dataclass(frozen=True)
class Target:
    name: str
    check: Callable[[bytes], str]
    """What became of an input, in a word or two. Raises what no input should cause."""
    made: st.SearchStrategy[bytes] | None = None
    """More inputs, such as requests from a schema."""


@dataclass
class Result:
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, Path] = field(default_factory=dict)
    """Kind of failure → the first input that caused it."""


def read_seeds(name: str) -> list[bytes]:
    entries = yaml.safe_load(SEEDS.read_text(encoding="utf-8"))[name]
    return [(entry if isinstance(entry, str) else entry["unit"] * entry["times"]).encode() for entry in entries]


def fuzz(
    target: Target,
    folder: Path,
    rounds: Iterable[int],
    max_bytes: int = 100_000,
    until: float = math.inf,
    case_seconds: float = CASE_SECONDS,
) -> Result:
    """`rounds`: a seed for each round of 100 cases; the last one ends early at the monotonic time `until`.

    `folder` gets `corpus/` and `failures/` of this target. What is known already runs first, in any case.
    """
    corpus, failures = folder / "corpus" / target.name, folder / "failures" / target.name
    result, seeds = Result(), read_seeds(target.name)
    for content in [*seeds, *_read_all(corpus), *_read_all(failures)]:
        _run(target, content[:max_bytes], corpus, failures, result, case_seconds)
    for number in itertools.takewhile(lambda _: time.monotonic() < until, rounds):
        inputs = mutations([*seeds, *_read_all(corpus)], max_bytes)

        @seed(number)
        @settings(
            max_examples=_ROUND_CASES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(inputs if target.made is None else inputs | target.made)
        def run(content: bytes) -> None:
            if time.monotonic() < until:
                _run(target, content, corpus, failures, result, case_seconds)

        run()
    return result


def _read_all(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*"))]


def mutations(corpus: Sequence[bytes], max_bytes: int) -> st.SearchStrategy[bytes]:
    """A text of the corpus with up to four edits: something inserted, removed, repeated, or joined from another text."""
    part = st.tuples(st.floats(0, 1), st.integers(1, 40))
    edit = st.one_of(
        st.tuples(st.just("insert"), part, st.sampled_from(_JUNK) | st.binary(max_size=8) | st.text(max_size=4).map(_bytes)),
        st.tuples(st.just("remove"), part, st.just(b"")),
        st.tuples(st.just("repeat"), part, st.integers(2, MAX_TIMES)),
        st.tuples(st.just("join"), part, st.sampled_from(corpus)),
    )  # fmt: skip
    changed = st.builds(_apply, st.sampled_from(corpus), st.lists(edit, max_size=4))
    return changed.map(lambda content: content[:max_bytes])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _apply(content: bytes, edits: list[tuple[str, tuple[float, int], Any]]) -> bytes:
    for kind, (place, length), what in edits:
        start = round(place * len(content))
        before, part, after = content[:start], content[start : start + length], content[start + length :]
        match kind:
            case "insert":
                content = before + what + part + after
            case "remove":
                content = before + after
            case "repeat":
                content = before + part * what + after
            case _:
                content = before + what[-len(after) :]
    return content


def _run(target: Target, content: bytes, corpus: Path, failures: Path, result: Result, seconds: float) -> None:
    result.cases += 1
    try:
        with _limited(seconds):
            outcome = target.check(content)
    except Exception as error:  # noqa: BLE001 (each kind of failure is kept, and the run continues)
        kind = _describe(error)
        if kind not in result.failures:
            result.failures[kind] = _save(failures, content)
        return
    is_new = outcome not in result.outcomes
    result.outcomes[outcome] += 1
    if is_new:
        _save(corpus, content)


def _describe(error: Exception) -> str:
    """Type and place, which the message of an error is not: it differs with the input."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" {Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
    return type(error).__name__ + ("" if isinstance(error, SlowCaseError) else where)


def _save(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(content).hexdigest()[:16]
    path.write_bytes(content)
    return path


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise SlowCaseError in the block after this much CPU time of the process."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SlowCaseError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
