"""What is started for a judge that is a local model."""

import json
from pathlib import Path

from fine_tune_assets.engines.running import CONFIG, stop_engine
from fine_tune_assets.judging.judge_models import FolderModel


def test_a_model_file_is_given_to_the_gpu_whole(tmp_path: Path) -> None:
    """On the processor a 14B model needs minutes a grade, beside a GPU that has nothing to do."""
    path, run_folder = tmp_path / "judge.gguf", tmp_path / "run"
    path.write_bytes(b"GGUF")  # what the server makes of it does not matter here
    model = FolderModel(path, run_folder, vllm_python=Path(), context_tokens=512, threads=1)
    engine = model.start_in(run_folder)
    try:
        (told,) = json.loads((run_folder / CONFIG).read_text())["models"]
    finally:
        stop_engine(engine, grace_seconds=5)
    assert (told["model"], told["n_gpu_layers"]) == (str(path), -1)
