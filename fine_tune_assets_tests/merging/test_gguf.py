"""Interrupted exports leave no process and no file behind. The converter is a stand-in."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.engines.processes import identify, is_alive
from fine_tune_assets_tests.serving.tiny_releases import tiny_gguf

pytestmark = pytest.mark.slow
"""The exporter loads torch."""

CONVERTER = """
import os, sys, time
from pathlib import Path

def main():
    Path(sys.argv[sys.argv.index("--outfile") + 1]).write_text("half")
    {then}
"""
EXPORT = """
import sys
from pathlib import Path
from fine_tune_assets.core.files import atomic_write
from fine_tune_assets.merging.exports import _exclusive_export
from fine_tune_assets.merging.gguf import GgufConverter
weights = Path("weights").resolve()
with _exclusive_export(weights), GgufConverter(Path("merged"), weights) as converter:
    with atomic_write(weights / "merged.q8_0.gguf") as aside:
        converter.write("q8_0", aside)
"""


def _start_export(tmp_path: Path, then: str) -> "subprocess.Popen[str]":
    (tmp_path / "convert_hf_to_gguf.py").write_text(CONVERTER.format(then=then), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT_DIR}"}
    command = [sys.executable, "-c", EXPORT]
    return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)


def _unfinished(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "weights").glob(".*.gguf.*"))


def test_the_converter_dies_with_the_worker_and_the_next_export_cleans_up(tmp_path: Path) -> None:
    """After a killed run, a surviving converter would write many GB that are never used."""
    pid_file = tmp_path / "pid"
    export = _start_export(tmp_path, f"Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)")
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    converter = identify(int(pid_file.read_text()))
    assert converter is not None
    assert len(_unfinished(tmp_path)) == 1
    export.kill()
    export.communicate()
    deadline = time.monotonic() + 5
    while is_alive(converter):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(_unfinished(tmp_path)) == 1

    (tmp_path / "weights" / ".other.0f.tmp").mkdir()  # a merge in progress
    errors = _start_export(tmp_path, "sys.exit('no such architecture')").communicate()[1]
    assert "merged: no such architecture" in errors
    assert _unfinished(tmp_path) == []
    assert (tmp_path / "weights" / ".other.0f.tmp").is_dir()


def test_a_file_with_another_template_or_stop_token_is_rejected(smollm2: Path) -> None:
    """The engine renders prompts with the template inside the file, and generates past an unknown stop token."""
    from fine_tune_assets.core.errors import GateClosedError
    from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
    from fine_tune_assets.engines.gguf_model import open_gguf
    from fine_tune_assets.merging.gguf import require_prompt_contract

    contract = read_prompt_contract(smollm2, "Be brief.")
    with open_gguf(tiny_gguf()) as model:
        require_prompt_contract(model, contract.chat_template, contract.turn_end_id)
        with pytest.raises(GateClosedError, match=r"chat_template\.jinja"):
            require_prompt_contract(model, f"{contract.chat_template} ", contract.turn_end_id)
        with pytest.raises(GateClosedError, match="token 300"):
            require_prompt_contract(model, contract.chat_template, 300)
