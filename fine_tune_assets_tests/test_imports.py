"""Code that tests share is in modules without tests, so that a change of one test changes no other."""

import ast
from pathlib import Path


def test_no_test_imports_another_test() -> None:
    imports = {
        f"{file.name} imports {node.module}"
        for file in Path(__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    }
    assert imports == set()
