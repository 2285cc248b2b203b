"""What comes back from llmcompressor's environment, without it: the program here writes what transformers 5 writes there."""

import json
from pathlib import Path

import pytest

from fine_tune_assets.merging.compression import compress
from fine_tune_assets.merging.gguf import ExportError

WRITES = """#!/bin/sh
mkdir -p "$4"
echo '{"rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}, "quantization_config": {"format": "float"}}' \\
  > "$4/config.json"
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o700)
    return path


def test_a_compressed_export_can_be_read_by_older_readers_too(tmp_path: Path) -> None:
    """transformers 4 takes a rotary base of 10,000 for granted where only the new name is there."""
    merged, folder = tmp_path / "merged", tmp_path / "fp8"
    merged.mkdir()
    (merged / "tokenizer.json").write_text("{}")
    compress(merged, folder, "fp8_dynamic", program(tmp_path, WRITES))
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_theta"] == 100000.0
    assert config["rope_parameters"]["rope_theta"] == 100000.0
    assert config["quantization_config"] == {"format": "float"}
    assert (folder / "tokenizer.json").read_text() == "{}"


def test_what_the_program_says_is_the_reason_of_an_export_that_failed(tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    said = "#!/bin/sh\necho 'rows are no multiple of 128' >&2\nexit 1\n"
    with pytest.raises(ExportError, match=r"could not make a w4a16 export.*no multiple of 128"):
        compress(tmp_path / "merged", tmp_path / "w4a16", "w4a16", program(tmp_path, said))
