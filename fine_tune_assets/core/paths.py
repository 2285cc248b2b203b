"""Paths of all folders below the data folder. Creates none of them."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parents[1]
PROJECT_DIR = PACKAGE_DIR.parent
LINES_FOLDER = "lines"


@dataclass(frozen=True)
class Layout:
    """The folders of one installation, all below `data_dir`."""

    data_dir: Path

    @property
    def lines(self) -> Path:
        """The further product lines, a folder each with the same folders as this one."""
        return self.data_dir / LINES_FOLDER

    @property
    def raw_reports(self) -> Path:
        """A folder for each batch, as delivered."""
        return self.data_dir / "raw_reports"

    @property
    def general_data(self) -> Path:
        """General data that is mixed in, with licences."""
        return self.data_dir / "general"

    @property
    def evaluation(self) -> Path:
        """Labelled sets for the scrubber, the judge and retained abilities."""
        return self.data_dir / "evaluation"

    @property
    def tagger_training(self) -> Path:
        """Labelled reports for training a tagger."""
        return self.data_dir / "tagger_training"

    @property
    def verifiers(self) -> Path:
        """Trained verifiers of statements, a folder each."""
        return self.data_dir / "verifiers"

    @property
    def judge_weights(self) -> Path:
        """Fitted weights of judges' members, a file for each reader, named by fingerprint."""
        return self.data_dir / "judge_weights"

    @property
    def taggers(self) -> Path:
        """Trained taggers, a folder each, named by fingerprint."""
        return self.data_dir / "taggers"

    @property
    def tables(self) -> Path:
        """Parquet files, a folder for each asset."""
        return self.data_dir / "tables"

    @property
    def instruction_sets(self) -> Path:
        return self.data_dir / "instruction_sets"

    @property
    def base_models(self) -> Path:
        return self.data_dir / "base_models"

    @property
    def adapters(self) -> Path:
        return self.data_dir / "adapters"

    @property
    def weights(self) -> Path:
        """Merged weights, a folder each, named by fingerprint. Their exports and probe answers are next to them, named by folder
        and format."""
        return self.data_dir / "weights"

    @property
    def releases(self) -> Path:
        return self.data_dir / "releases"

    @property
    def verdicts(self) -> Path:
        """Signed verdict documents, a folder each, named by id."""
        return self.data_dir / "verdicts"

    @property
    def knowledge(self) -> Path:
        """The organization's documents for citations, as delivered."""
        return self.data_dir / "knowledge"

    @property
    def knowledge_indexes(self) -> Path:
        """A folder each, named by fingerprint."""
        return self.data_dir / "knowledge_indexes"

    @property
    def keys(self) -> Path:
        """Secret keys of this installation; readable by its user only."""
        return self.data_dir / "keys"

    @property
    def readable_names(self) -> Path:
        """The numbers of adapters, instruction sets and releases in the desk's readable names."""
        return self.data_dir / "ledger" / "readable_names.json"

    @property
    def cache(self) -> Path:
        """Files that can be recomputed."""
        return self.data_dir / "cache"

    @property
    def training_checkpoints(self) -> Path:
        """Checkpoints of the current training. In the cache, because it is emptied when a subject is erased."""
        return self.cache / "training"

    @property
    def run(self) -> Path:
        """Pid files and logs of services."""
        return self.data_dir / "run"

    @property
    def running_steps(self) -> Path:
        """A progress file for each running step."""
        return self.run / "steps"

    def table(self, asset: str, partition: str | None = None) -> Path:
        """The Parquet file of an asset, or of one of its partitions."""
        return self.tables / asset / f"{partition or asset}.parquet"
