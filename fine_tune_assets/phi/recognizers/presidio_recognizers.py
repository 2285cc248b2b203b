"""Our recognisers as Presidio knows them, and those of its own that help.

Owns what Presidio's analyzer is made of. Imported only where a scrubber is built: Presidio takes seconds to import.
"""

import importlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ScrubberError
from fine_tune_assets.phi.recognizers.rules.registry import RULES, find_by_rules
from fine_tune_assets.phi.recognizers.tagged_spans import spans_of_words
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.tagger.labels import LABELS, own_label
from fine_tune_assets.phi.tagger.prediction import Tagger


@contextmanager
def as_if_not_installed(*packages: str) -> Iterator[None]:
    """Within, importing one of the packages raises ImportError. One that is loaded already stays.

    Presidio and spaCy import transformers and torch where they find them, for models that the scrubber does not use: five of
    the seven seconds before each of its processes could scrub its first report.
    """
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with as_if_not_installed("torch", "transformers"):
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry, RecognizerResult
    from presidio_analyzer import predefined_recognizers as presidio
    from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
    from presidio_analyzer.nlp_engine import NerModelConfiguration, NlpArtifacts, NoOpNlpEngine, SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers.ner import huggingface_ner_recognizer

_ENTITY = "PHI_"
"""Ours begin with it, so that they never clash with an entity of Presidio's."""
_LABEL_OF_ENTITY = {
    "PERSON": "NAME",
    "LOCATION": "LOCATION",
    "US_ITIN": "SSN",
    "UUID": "ID",
    "UK_NHS": "MRN",
    "MEDICAL_LICENSE": "LICENSE",
    "US_NPI": "LICENSE",
    "US_MBI": "HEALTH_PLAN",
    "CREDIT_CARD": "ACCOUNT",
    "IBAN_CODE": "ACCOUNT",
    "CRYPTO": "ACCOUNT",
}
_LABEL_OF_TAGGER = {"ADDRESS": "LOCATION"}
# Not DATE_TIME, which masks "two weeks"; not US_DRIVER_LICENSE, which masks vertebrae (C6); not EMAIL and URL, which ask the
# internet for the public suffix list; not PHONE_NUMBER, which takes a third of the time and finds what our rules find.
_PRESIDIO_RECOGNISERS = (
    presidio.CreditCardRecognizer, presidio.IbanRecognizer, presidio.CryptoRecognizer, presidio.UsItinRecognizer,
    presidio.NhsRecognizer, presidio.MedicalLicenseRecognizer,
    presidio.UsNpiRecognizer, presidio.UsMbiRecognizer, presidio.UuidRecognizer,
)  # fmt: skip


class RuleRecognizer(EntityRecognizer):
    """All of `phi/rules`."""

    def __init__(self) -> None:
        super().__init__(supported_entities=sorted({_ENTITY + r.label for r in RULES}), name="rules")

    def load(self) -> None:
        """Nothing to load: the rules are compiled with their module."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        del entities, nlp_artifacts
        return [_result(span) for span in find_by_rules(text)]


class TaggerRecognizer(EntityRecognizer):
    """What the learned tagger said of the words, which the NLP engine asked it for in batches."""

    def __init__(self, threshold: float) -> None:
        super().__init__(
            supported_entities=[_ENTITY + _LABEL_OF_TAGGER.get(name, name) for name in LABELS[1:]], name="tagger"
        )
        self._threshold = threshold

    def load(self) -> None:
        """Nothing to load: the NLP engine holds the tagger."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        del entities
        return [_result(span) for span in tagged_spans(text, nlp_artifacts, self._threshold)]


def tagged_spans(text: str, artifacts: Any, threshold: float) -> Iterator[Span]:
    for span in spans_of_words(text, getattr(artifacts, "tagged_words", ()), threshold):
        yield Span(span.start, span.end, _LABEL_OF_TAGGER.get(span.label, span.label), span.rule, span.score)


def _result(span: Span) -> RecognizerResult:
    return RecognizerResult(
        _ENTITY + span.label, span.start, span.end, span.score, recognition_metadata={"rule": span.rule}
    )


class ContextForPresidiosOwn(LemmaContextAwareEnhancer):  # type: ignore[misc]
    """Raises scores by context words for Presidio's own recognisers only: ours know their context themselves.

    Presidio's enhancer goes through the whole text once a finding; half of the time of a dense report went there.
    """

    def enhance_using_context(
        self, text: str, raw_results: list[Any], nlp_artifacts: Any, recognizers: Any, context: Any = None
    ) -> list[Any]:
        ours = [r for r in raw_results if r.entity_type.startswith(_ENTITY)]
        others = [r for r in raw_results if not r.entity_type.startswith(_ENTITY)]
        if others:
            artifacts = nlp_artifacts if nlp_artifacts.tokens else _with_words(text, nlp_artifacts)
            others = super().enhance_using_context(text, others, artifacts, recognizers, context)
        return [*ours, *others]


def _with_words(text: str, artifacts: Any) -> Any:
    """The artifacts with the words of the text, which only the context of Presidio's own recognisers needs."""
    words = list(re.finditer(r"\w+|[^\w\s]", text))
    artifacts.tokens = [word[0] for word in words]
    artifacts.tokens_indices = [word.start() for word in words]
    artifacts.lemmas = artifacts.keywords = [word[0].lower() for word in words]
    return artifacts


class TaggerEngine(NoOpNlpEngine):  # type: ignore[misc]
    """Adds to each text's artifacts what the tagger says of its words."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_NO_MODEL)
        self._tagger = Tagger(folder)

    def process_batch(self, texts: Iterable[Any], language: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        every = list(texts)
        processed: Iterator[Any] = super().process_batch(every, language, *args, **kwargs)
        for (text, artifacts), words in zip(processed, self._tagger.tag(every), strict=True):
            artifacts.tagged_words = words
            yield text, artifacts

    def process_text(self, text: str, language: str) -> Any:
        return next(self.process_batch([text], language))[1]


_NO_MODEL = [{"lang_code": "en", "model_name": ""}]


def tagger_analyzer(folder: Path, threshold: float) -> AnalyzerEngine:
    return _analyzer(TaggerEngine(folder), TaggerRecognizer(threshold))


def spacy_analyzer(package: str) -> AnalyzerEngine:
    """With the named entities of a spaCy package. Raises OSError if spaCy can't load it."""
    engine = SpacyNlpEngine(
        models=[{"lang_code": "en", "model_name": package}],
        ner_model_configuration=NerModelConfiguration(
            model_to_presidio_entity_mapping={"PERSON": "PERSON", **dict.fromkeys(("FAC", "LOC", "GPE"), "LOCATION")},
            low_score_entity_names=[],
            labels_to_ignore=_SPACY_LABELS_NOT_USED,
        ),
    )
    return _analyzer(engine, presidio.SpacyRecognizer(supported_entities=["PERSON", "LOCATION"]))


_SPACY_LABELS_NOT_USED = [
    "CARDINAL", "DATE", "EVENT", "LANGUAGE", "LAW", "MONEY", "NORP", "ORDINAL", "ORG", "PERCENT", "PRODUCT", "QUANTITY",
    "TIME", "WORK_OF_ART",
]  # fmt: skip


def hugging_face_analyzer(folder: Path, threshold: float) -> AnalyzerEngine:
    """With a token classifier in a local Hugging Face folder, whatever labels it has that `tagger/labels` knows.

    Raises ScrubberError if it knows none.
    """
    configuration = folder / "config.json"
    about = json.loads(configuration.read_text(encoding="utf-8")) if configuration.is_file() else {}
    names = about.get("id2label", {}).values()
    bare = {name: name.split("-", 1)[-1] if name[:2] in ("B-", "I-", "E-", "S-") else name for name in names}
    mapping = {
        label: _ENTITY + _LABEL_OF_TAGGER.get(own, own)
        for label in bare.values()
        if (own := own_label(label)) in LABELS[1:]
    }
    if not mapping:
        raise ScrubberError(
            f"The folder {folder.name} is no token classifier with labels such as PER, LOC or DATE in its config.json."
        )
    if huggingface_ner_recognizer.hf_pipeline is None:  # imported above, as if transformers were not installed
        importlib.reload(huggingface_ner_recognizer)
    recogniser = huggingface_ner_recognizer.HuggingFaceNerRecognizer(
        model_name=str(folder),
        supported_entities=sorted(set(mapping.values())),
        label_mapping=mapping,
        threshold=threshold,
        # Of whole words: a name is not found in half.
        aggregation_strategy="max",
        device="cpu",
    )
    return _analyzer(NoOpNlpEngine(_NO_MODEL), recogniser)


def _analyzer(engine: NoOpNlpEngine | SpacyNlpEngine, named_entities: EntityRecognizer) -> AnalyzerEngine:
    own = [cls(supported_language="en") for cls in _PRESIDIO_RECOGNISERS]
    registry = RecognizerRegistry(recognizers=[RuleRecognizer(), named_entities, *own], supported_languages=["en"])
    analyzer = AnalyzerEngine(nlp_engine=engine, registry=registry, supported_languages=["en"])
    # Set afterwards: the constructor warns that this engine cuts no words, but the enhancer does so itself.
    analyzer.context_aware_enhancer = ContextForPresidiosOwn()
    return analyzer


def findings(analyzer: AnalyzerEngine, text: str, artifacts: NlpArtifacts) -> Iterator[Span]:
    """All that the recognisers find in a text, with our labels and the names of the rules."""
    for found in analyzer.analyze(text=text, language="en", nlp_artifacts=artifacts, score_threshold=0):
        entity = found.entity_type
        label = entity.removeprefix(_ENTITY) if entity.startswith(_ENTITY) else _LABEL_OF_ENTITY.get(entity)
        if label is not None:
            rule = (found.recognition_metadata or {}).get("rule", f"presidio_{entity.lower()}")
            yield Span(found.start, found.end, label, rule, round(float(found.score), 3))
