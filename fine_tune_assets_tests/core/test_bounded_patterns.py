"""Each regular expression takes time in proportion to the text."""

import json
import re
import subprocess
import sys

import pytest

from fine_tune_assets.core.bounded_patterns import bound_repeats, compile_bounded
from fine_tune_assets.core.paths import PROJECT_DIR


@pytest.mark.parametrize(
    ("pattern", "bounded"),
    [
        (r"\s*:", r"\s{0,64}:"),
        (r"a++b*?", r"a{1,64}+b{0,64}?"),
        (r"(?:a+)*", r"(?:a{1,64}){0,64}"),
        (r"\d{3,}", r"\d{3,67}"),
        (r"[]*+]+[^]*]", r"[]*+]{1,64}[^]*]"),
        (r"\*\+[*+]\[*", r"\*\+[*+]\[{0,64}"),
        (r"(?i:a*)(?P<b>b+)", r"(?i:a{0,64})(?P<b>b{1,64})"),
        (r"a{2,5}b?", r"a{2,5}b?"),
    ],
)
def test_each_repeat_gets_a_bound(pattern: str, bounded: str) -> None:
    """Other characters, also those in a character class, stay."""
    assert bound_repeats(pattern) == bounded
    assert re.compile(bounded)


def test_a_bounded_pattern_finds_what_the_pattern_finds() -> None:
    text = "Name :  Quixley, Anna-Maria; phone 555  0100"
    for pattern in (r"\s*:", r"[A-Z]\w+(?:-[A-Z]\w+)*", r"\d+(?:\s+\d+)*"):
        assert [m.span() for m in compile_bounded(pattern).finditer(text)] == [
            m.span() for m in re.finditer(pattern, text)
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "prefixes", [("phi/",), ("a", "b", "c", "d", "e", "f", "g", "i", "j", "k", "l", "m", "n", "q", "r", "s", "t")]
)
def test_no_pattern_grows_faster_than_its_text(prefixes: tuple[str, ...]) -> None:
    """A text of repeated letters must not stop a stage. Each pattern of the package and of the domain packs is measured."""
    command = [sys.executable, "-m", "fine_tune_assets_tests.core.pattern_growth", *prefixes]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    *slow, summary = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    assert slow == []
    assert summary["measured"] > 100


def test_the_measurement_finds_a_pattern_that_is_not_linear() -> None:
    """The test of all patterns can fail."""
    code = (
        "import json, re, signal; from fine_tune_assets_tests.core import pattern_growth as growth;"
        "signal.signal(signal.SIGVTALRM, growth.raise_too_slow);"
        r"print(json.dumps([bool(growth.find_growth(re.compile(p))) for p in (r'\s*:', r'\s{0,64}:', r'\w+')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [True, False, False]
