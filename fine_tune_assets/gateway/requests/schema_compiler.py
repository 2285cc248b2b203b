"""Compiles JSON schemas with llguidance: `python -m …`, started by `schema_guard`.

Reads one schema per line and answers each with one line, `{"is_compiled": true}`. A crash or a hang ends this process alone. The
engines' converters are not available as libraries; llguidance also detects schemas that no answer can match.
"""

import json
import sys
from typing import Any

from fine_tune_assets.core.processes.parent import die_with_parent


def is_compiled(tokenizer: Any, schema: str) -> bool:
    """Whether the schema gives a grammar that accepts a first token."""
    from llguidance import LLMatcher

    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_json_schema(schema))
    if not matcher.is_error():
        matcher.compute_bitmask()
    return not matcher.is_error()


def main() -> None:
    from llguidance import LLTokenizer

    die_with_parent()
    tokenizer = LLTokenizer("byte")
    for line in sys.stdin:
        print(json.dumps({"is_compiled": is_compiled(tokenizer, line)}), flush=True)


if __name__ == "__main__":
    main()
