"""Measures how the time of each regular expression of the package grows with the length of hostile texts.

    python -m fine_tune_assets_tests.core.pattern_growth [MODULE_PREFIX ...]

Prints one JSON line per pattern that grows faster than its text. Patterns are recorded while all modules are imported and the
domain packs are loaded, so patterns that code builds are measured too. The hostile texts repeat common units, and the examples of
each repeat and of the whole pattern.
"""

import ast
import importlib
import json
import pkgutil
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import fine_tune_assets

ROOT = Path(fine_tune_assets.__file__).parent
SHORT, LONG = 2_000, 20_000
MAX_RATIO = 15.0
"""A linear pattern takes 10 times as long on the text of 10 times the length."""
_NEGLIGIBLE_SECONDS = 0.2
"""On the long text. A quadratic pattern takes at least a second there; shorter times are noise."""
_LIMIT_SECONDS = 1.5
_MEASUREMENTS = 5
_UNITS = (
    "Anna-", "a-", "A-b ", " ", "\t", "A", "Ä", "1", ".", "1.", "1,", "A.", "A.B. ", "'", "O'", '"', "é", "(", "[", ")", "\n",
    "\r\n", "a", "Anna ", "Anna, ", "a ", "1 ", "1/", "1-", "_", "/", "\\", ":", "<", "\u00a0", "😀", "\u0301", "{", "|", "@",
    "a@", "a.",
    "#", "- ", "one ", "a b\n", "*", "=", "&", "Ab", "-", ",", ", ", "1 a ", "Ⅷ", "٣", "\u200d", "ﬁ",
)  # fmt: skip
_OWN_REPEATS = {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}
_CATEGORIES = {
    op.CATEGORY_DIGIT: "1", op.CATEGORY_SPACE: " ", op.CATEGORY_WORD: "a",
    op.CATEGORY_NOT_DIGIT: "a", op.CATEGORY_NOT_SPACE: "a", op.CATEGORY_NOT_WORD: " ",
}  # fmt: skip
Patterns = dict[tuple[str, int], str]


class _TooSlowError(Exception):
    pass


def record_patterns() -> Patterns:
    """Pattern and flags → module and line where it was compiled first."""
    found: Patterns = {}
    compile_once: Callable[[Any, Any], re.Pattern[str]] = re._compile  # type: ignore[attr-defined]

    def record(pattern: Any, flags: Any) -> re.Pattern[str]:
        compiled = compile_once(pattern, flags)
        place = _find_place(sys._getframe(1))
        if place and isinstance(compiled.pattern, str):
            found.setdefault((compiled.pattern, compiled.flags), place)
        return compiled

    re._compile = record  # type: ignore[attr-defined]
    try:
        for module in pkgutil.walk_packages([str(ROOT)], "fine_tune_assets."):
            if not module.name.endswith((".__main__", ".migrations.env")):
                importlib.import_module(module.name)
        _load_packs()
    finally:
        re._compile = compile_once  # type: ignore[attr-defined]
    for place, pattern in _list_literal_patterns():
        compiled = re.compile(pattern)
        found.setdefault((compiled.pattern, compiled.flags), place)
    return found


def _find_place(frame: Any) -> str:
    """Module and line of our code that asked for the pattern."""
    while frame and ("/re/" in frame.f_code.co_filename or frame.f_code.co_filename.endswith("bounded_patterns.py")):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename) if frame else Path()
    return f"{path.relative_to(ROOT)}:{frame.f_lineno}" if path.is_relative_to(ROOT) else ""


def _load_packs() -> None:
    from fine_tune_assets.phi.recognizers.domain_rules import load_rules

    for pack in sorted((ROOT / "packs").iterdir()):
        if (pack / "pack.yaml").is_file():
            load_rules(pack.name)


def _list_literal_patterns() -> Iterator[tuple[str, str]]:
    """Patterns that functions pass to `re.search` and the like."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _is_search(node.func) and node.args:
                pattern = node.args[0]
                if isinstance(pattern, ast.Constant) and isinstance(pattern.value, str):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", pattern.value


def _is_search(function: ast.expr) -> bool:
    searches = ("search", "sub", "split", "findall", "finditer")
    is_re = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "re"
    return is_re and function.attr in searches  # type: ignore[union-attr]


def find_anchored() -> set[str]:
    """Places of patterns with a name that only `match` and `fullmatch` use, which try one position."""
    places: dict[str, set[str]] = {}
    uses: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                uses.setdefault(node.value.id, set()).add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                uses.setdefault(node.id, set()).add("")
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name):
                    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                    places.setdefault(target.id, set()).update(f"{path.relative_to(ROOT)}:{line}" for line in lines)
    anchored = {"match", "fullmatch", "pattern", "", "flags"}
    names = {name for name, methods in uses.items() if methods & {"match", "fullmatch"} and methods <= anchored}
    return {place for name in names for place in places.get(name, ())}


def list_units(pattern: str, flags: int) -> list[str]:
    """Texts to repeat: common ones, and examples of the pattern's repeats and of the whole pattern."""
    units: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = _write_example(_parser.parse(pattern, flags), units)
    own = {one + after for one in units for after in ("", " ", "-")}
    own |= {whole, whole[:-1], f"{whole} ", f"{whole}-", whole[: len(whole) // 2]}
    return [unit for unit in dict.fromkeys((*_UNITS, *sorted(own))) if unit]


def _write_example(parsed: Iterable[tuple[Any, Any]], units: set[str]) -> str:
    return "".join(_write_node(kind, value, units) for kind, value in parsed)


def _write_node(kind: Any, value: Any, units: set[str]) -> str:
    if kind is op.LITERAL:
        return chr(value)
    if kind is op.IN:
        return _choose_character(value)
    if kind is op.BRANCH:
        return next(_write_example(branch, units) for branch in value[1])
    if kind is op.SUBPATTERN:
        return _write_example(value[3], units)
    if kind is op.ATOMIC_GROUP:
        return _write_example(value, units)
    if kind in (op.ASSERT, op.ASSERT_NOT):
        _write_example(value[1], units)
        return ""
    if kind in _OWN_REPEATS:
        low, high, body = value
        example = _write_example(body, units)
        if high >= 8:
            units.add(example)
        return example * max(1, min(low, 20))
    return "a" if kind in (op.ANY, op.NOT_LITERAL) else ""


def _choose_character(members: Any) -> str:
    kind, value = members[0]
    if kind is op.NEGATE:
        return next((c for c in "aA1 .-,\n" if not _is_member(members[1:], c)), "~")
    return {op.LITERAL: lambda: chr(value), op.RANGE: lambda: chr(value[0]), op.CATEGORY: lambda: _CATEGORIES[value]}[
        kind
    ]()


def _is_member(members: Any, character: str) -> bool:
    tests: dict[Any, Callable[[Any], bool]] = {
        op.LITERAL: lambda value: chr(value) == character,
        op.RANGE: lambda value: value[0] <= ord(character) <= value[1],
        op.CATEGORY: lambda value: (
            re.fullmatch({"1": r"\d", " ": r"\s", "a": r"\w"}[_CATEGORIES[value]], character) is not None
        ),
    }
    return any(tests[kind](value) for kind, value in members)


def measure(pattern: re.Pattern[str], text: str, is_anchored: bool, limit: float) -> float:
    """CPU seconds of all matches; infinite above the limit."""
    start = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        if is_anchored:
            pattern.match(text)
            pattern.fullmatch(text)
        else:
            for _ in pattern.finditer(text):
                pass
        return time.process_time() - start
    except _TooSlowError:
        return float("inf")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def find_growth(pattern: re.Pattern[str], is_anchored: bool = False) -> dict[str, Any] | None:
    """The first unit on which the pattern grows faster than its text, with both times; None if there is none."""
    for unit in list_units(pattern.pattern, pattern.flags):
        short, long = (unit * (count // len(unit) + 1) for count in (SHORT, LONG))
        short, long = f"{short[:SHORT]}\0", f"{long[:LONG]}\0"
        if measure(pattern, long, is_anchored, _LIMIT_SECONDS) < _NEGLIGIBLE_SECONDS:
            continue
        before = after = float("inf")
        for _ in range(_MEASUREMENTS):
            before = min(before, measure(pattern, short, is_anchored, 0.3))
            after = min(after, measure(pattern, long, is_anchored, 0.1 + 20 * min(before, 1.0)))
            if after <= 0.8 * MAX_RATIO * before:
                break
        if after > MAX_RATIO * before:
            return {"unit": unit, "seconds": [round(before, 5), round(after, 5)]}
    return None


def raise_too_slow(*_: Any) -> None:
    raise _TooSlowError


def main(*prefixes: str) -> None:
    from fine_tune_assets.core.processes.offline import go_offline

    go_offline()
    signal.signal(signal.SIGVTALRM, raise_too_slow)
    anchored, measured = find_anchored(), 0
    for (pattern, flags), place in sorted(record_patterns().items(), key=lambda one: one[1]):
        if place.startswith(prefixes or ""):
            measured += 1
            if growth := find_growth(re.compile(pattern, flags), place in anchored):
                print(json.dumps({"place": place, "pattern": pattern[:120], **growth}), flush=True)
    print(json.dumps({"measured": measured}))


if __name__ == "__main__":
    main(*sys.argv[1:])
