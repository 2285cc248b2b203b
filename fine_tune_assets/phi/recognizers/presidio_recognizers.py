"""Builds Presidio's analyzer from our recognizers and the useful ones of Presidio.

Import it only to build a scrubber: importing Presidio takes seconds.
"""

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fine_tune_assets.core.errors import ScrubberError
from fine_tune_assets.core.package_weights import require_pinned_weights
from fine_tune_assets.phi.recognizers.domain_rules import DomainRules
from fine_tune_assets.phi.recognizers.rules.rule import Rule
from fine_tune_assets.phi.recognizers.rules.rule_list import apply_rules
from fine_tune_assets.phi.recognizers.tagged_spans import decode_spans
from fine_tune_assets.phi.spans.spans import Span
from fine_tune_assets.phi.tagger.labels import LABELS, map_label
from fine_tune_assets.phi.tagger.prediction import Tagger
from fine_tune_assets.recipes.domain_pack_schema import PresidioEntity


@contextmanager
def hide_optional_imports(*packages: str) -> Iterator[None]:
    """Make imports of the packages raise ImportError; packages that are already loaded stay available.

    Presidio and spaCy import transformers and torch if installed, for models that the scrubber does not use. That took five of
    the seven seconds before a process scrubbed its first report.
    """
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


with hide_optional_imports("torch", "transformers"):
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry, RecognizerResult
    from presidio_analyzer import predefined_recognizers as presidio
    from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
    from presidio_analyzer.nlp_engine import NerModelConfiguration, NlpArtifacts, NoOpNlpEngine, SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers.ner import huggingface_ner_recognizer

_ENTITY_PREFIX = "PHI_"
"""Prefix of our entities, so that they never clash with Presidio's."""
_CONTEXT_LENGTH = 200
"""Characters before and after a finding in which Presidio looks for context words."""
_LABEL_BY_SPACY_ENTITY = {"PERSON": "NAME", "LOCATION": "LOCATION"}
_LABEL_BY_TAGGER_LABEL = {"ADDRESS": "LOCATION"}
# Excluded: DATE_TIME masks "two weeks"; US_DRIVER_LICENSE masks vertebrae (C6); EMAIL and URL download the public suffix
# list; PHONE_NUMBER takes a third of the time and finds only what our rules find.
PRESIDIO_RECOGNIZERS: Mapping[PresidioEntity, Callable[..., EntityRecognizer]] = {
    "ABA_ROUTING_NUMBER": presidio.AbaRoutingRecognizer,
    "CREDIT_CARD": presidio.CreditCardRecognizer,
    "CRYPTO": presidio.CryptoRecognizer,
    "DE_TAX_ID": presidio.DeTaxIdRecognizer,
    "DE_VAT_ID": presidio.DeVatIdRecognizer,
    "IBAN_CODE": presidio.IbanRecognizer,
    "MEDICAL_LICENSE": presidio.MedicalLicenseRecognizer,
    "UK_NHS": presidio.NhsRecognizer,
    "UK_NINO": presidio.UkNinoRecognizer,
    "US_ITIN": presidio.UsItinRecognizer,
    "US_MBI": presidio.UsMbiRecognizer,
    "US_NPI": presidio.UsNpiRecognizer,
    "US_SSN": presidio.UsSsnRecognizer,
    "UUID": presidio.UuidRecognizer,
}
"""Recognizers of Presidio that a domain pack can name, by entity."""


class RuleRecognizer(EntityRecognizer):
    """Runs the rules of a domain."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__(supported_entities=sorted({_ENTITY_PREFIX + r.label for r in rules}), name="rules")
        self._rules = rules

    def load(self) -> None:
        """Does nothing: the rules are compiled on import."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        del entities, nlp_artifacts
        return [_to_recognizer_result(span) for span in apply_rules(text, self._rules)]


class TaggerRecognizer(EntityRecognizer):
    """Returns the tagger's spans, which the NLP engine computed in batches."""

    def __init__(self, threshold: float) -> None:
        super().__init__(
            supported_entities=[_ENTITY_PREFIX + _LABEL_BY_TAGGER_LABEL.get(name, name) for name in LABELS[1:]],
            name="tagger",
        )
        self._threshold = threshold

    def load(self) -> None:
        """Does nothing: the NLP engine holds the tagger."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        del entities
        return [_to_recognizer_result(span) for span in find_tagged_spans(text, nlp_artifacts, self._threshold)]


def find_tagged_spans(text: str, artifacts: Any, threshold: float) -> Iterator[Span]:
    for span in decode_spans(text, getattr(artifacts, "tagged_words", ()), threshold):
        yield Span(
            span.start, span.end, _LABEL_BY_TAGGER_LABEL.get(span.label, span.label), span.recognizer, span.score
        )


def _to_recognizer_result(span: Span) -> RecognizerResult:
    return RecognizerResult(
        _ENTITY_PREFIX + span.label,
        span.start,
        span.end,
        span.score,
        recognition_metadata={"recognizer": span.recognizer},
    )


class PresidioContextEnhancer(LemmaContextAwareEnhancer):  # type: ignore[misc]
    """Raises scores by context words for Presidio's own recognizers only; ours match their context themselves.

    Presidio's enhancer scans all words for each finding, so it gets those nearby only.
    """

    def enhance_using_context(
        self, text: str, raw_results: list[Any], nlp_artifacts: Any, recognizers: Any, context: Any = None
    ) -> list[Any]:
        del nlp_artifacts
        enhanced = [r for r in raw_results if r.entity_type.startswith(_ENTITY_PREFIX)]
        for found in raw_results:
            if not found.entity_type.startswith(_ENTITY_PREFIX):
                first = max(0, found.start - _CONTEXT_LENGTH)
                nearby = copy(found)
                nearby.start, nearby.end = found.start - first, found.end - first
                part = text[first : found.end + _CONTEXT_LENGTH]
                (result,) = super().enhance_using_context(part, [nearby], _read_words(part), recognizers, context)
                result.start, result.end = found.start, found.end
                enhanced.append(result)
        return enhanced


def _read_words(text: str) -> Any:
    """What Presidio's context enhancer reads of the words of a text."""
    words = list(re.finditer(r"\w+|[^\w\s]", text))
    written, small = [word[0] for word in words], [word[0].lower() for word in words]
    return SimpleNamespace(
        tokens=written, tokens_indices=[word.start() for word in words], lemmas=small, keywords=small
    )


class TaggerNlpEngine(NoOpNlpEngine):  # type: ignore[misc]
    """Adds the tagger's labelled words to the artifacts of each text."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_EMPTY_MODEL)
        self._tagger = Tagger(folder)

    def process_batch(self, texts: Iterable[Any], language: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        every = list(texts)
        processed: Iterator[Any] = super().process_batch(every, language, *args, **kwargs)
        for (text, artifacts), words in zip(processed, self._tagger.tag(every), strict=True):
            artifacts.tagged_words = words
            yield text, artifacts

    def process_text(self, text: str, language: str) -> Any:
        return next(self.process_batch([text], language))[1]


_EMPTY_MODEL = [{"lang_code": "en", "model_name": ""}]


def build_tagger_analyzer(folder: Path, threshold: float, domain: DomainRules) -> AnalyzerEngine:
    return _build_analyzer(TaggerNlpEngine(folder), TaggerRecognizer(threshold), domain)


def build_spacy_analyzer(package: str, domain: DomainRules) -> AnalyzerEngine:
    """An analyzer with the named entities of a spaCy package. Raises OSError if spaCy cannot load it, and ChangedFolderError if
    it is the baseline's package with other weights."""
    require_pinned_weights(package)
    engine = SpacyNlpEngine(
        models=[{"lang_code": "en", "model_name": package}],
        ner_model_configuration=NerModelConfiguration(
            model_to_presidio_entity_mapping={"PERSON": "PERSON", **dict.fromkeys(("FAC", "LOC", "GPE"), "LOCATION")},
            low_score_entity_names=[],
            labels_to_ignore=_IGNORED_SPACY_LABELS,
        ),
    )
    return _build_analyzer(engine, presidio.SpacyRecognizer(supported_entities=["PERSON", "LOCATION"]), domain)


_IGNORED_SPACY_LABELS = [
    "CARDINAL", "DATE", "EVENT", "LANGUAGE", "LAW", "MONEY", "NORP", "ORDINAL", "ORG", "PERCENT", "PRODUCT", "QUANTITY",
    "TIME", "WORK_OF_ART",
]  # fmt: skip


def build_hugging_face_analyzer(folder: Path, threshold: float, domain: DomainRules) -> AnalyzerEngine:
    """An analyzer with a token classifier from a local Hugging Face folder.

    It uses the labels that `tagger/labels` maps. Raises ScrubberError if there are none.
    """
    configuration = folder / "config.json"
    about = json.loads(configuration.read_text(encoding="utf-8")) if configuration.is_file() else {}
    names = about.get("id2label", {}).values()
    bare = {name: name.split("-", 1)[-1] if name[:2] in ("B-", "I-", "E-", "S-") else name for name in names}
    mapping = {
        label: _ENTITY_PREFIX + _LABEL_BY_TAGGER_LABEL.get(own, own)
        for label in bare.values()
        if (own := map_label(label)) in LABELS[1:]
    }
    if not mapping:
        raise ScrubberError(
            f"Folder {folder.name} is not a token classifier with labels such as PER, LOC or DATE in its config.json."
        )
    if huggingface_ner_recognizer.hf_pipeline is None:  # the import above ran as if transformers were not installed
        importlib.reload(huggingface_ner_recognizer)
    recognizer = huggingface_ner_recognizer.HuggingFaceNerRecognizer(
        model_name=str(folder),
        supported_entities=sorted(set(mapping.values())),
        label_mapping=mapping,
        threshold=threshold,
        # Aggregate over words, so that a name is never found in part.
        aggregation_strategy="max",
        device="cpu",
    )
    return _build_analyzer(NoOpNlpEngine(_EMPTY_MODEL), recognizer, domain)


def _build_analyzer(
    engine: NoOpNlpEngine | SpacyNlpEngine, named_entities: EntityRecognizer, domain: DomainRules
) -> AnalyzerEngine:
    own = [PRESIDIO_RECOGNIZERS[entity](supported_language="en") for entity in domain.presidio]
    rules = RuleRecognizer(domain.rules)
    registry = RecognizerRegistry(recognizers=[rules, named_entities, *own], supported_languages=["en"])
    analyzer = AnalyzerEngine(nlp_engine=engine, registry=registry, supported_languages=["en"])
    # Set afterwards: the constructor warns that this engine does not tokenize, but our enhancer does.
    analyzer.context_aware_enhancer = PresidioContextEnhancer()
    return analyzer


def find_spans(
    analyzer: AnalyzerEngine, text: str, artifacts: NlpArtifacts, presidio_labels: Mapping[PresidioEntity, str]
) -> Iterator[Span]:
    """All findings of the recognizers in a text, with our labels and rule names. `presidio_labels`: entity → kind."""
    labels: dict[str, str] = {
        **_LABEL_BY_SPACY_ENTITY,
        **{str(entity): kind for entity, kind in presidio_labels.items()},
    }
    for found in analyzer.analyze(text=text, language="en", nlp_artifacts=artifacts, score_threshold=0):
        entity = found.entity_type
        label = entity.removeprefix(_ENTITY_PREFIX) if entity.startswith(_ENTITY_PREFIX) else labels.get(entity)
        if label is not None:
            recognizer = (found.recognition_metadata or {}).get("recognizer", f"presidio_{entity.lower()}")
            yield Span(found.start, found.end, label, recognizer, round(float(found.score), 3))
