"""Our recognisers as Presidio knows them, and those of its own that help.

Owns what Presidio's analyzer is made of. Imported only where a scrubber is built: Presidio takes seconds to import.
"""

import importlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fine_tune_assets.phi.errors import ScrubberError
from fine_tune_assets.phi.lean_imports import as_if_not_installed
from fine_tune_assets.phi.rules.all_rules import RULES, find_by_rules
from fine_tune_assets.phi.spans import Span
from fine_tune_assets.phi.tagger.decoding import spans_of_words
from fine_tune_assets.phi.tagger.labels import LABELS, own_label
from fine_tune_assets.phi.tagger.predicting import TaggedWord, Tagger

with as_if_not_installed("torch", "transformers"):
    import spacy
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry, RecognizerResult
    from presidio_analyzer import predefined_recognizers as presidio
    from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
    from presidio_analyzer.nlp_engine import NerModelConfiguration, NlpArtifacts, NlpEngine, SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers.ner import huggingface_ner_recognizer
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

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

    def __init__(self) -> None:
        super().__init__(
            supported_entities=[_ENTITY + _LABEL_OF_TAGGER.get(name, name) for name in LABELS[1:]], name="tagger"
        )

    def load(self) -> None:
        """Nothing to load: the NLP engine holds the tagger."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        del entities
        return [_result(span) for span in tagged_spans(text, nlp_artifacts, self.threshold)]

    threshold = 0.5


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
            artifacts = nlp_artifacts if nlp_artifacts.tokens is not None else with_words(text, nlp_artifacts)
            others = super().enhance_using_context(text, others, artifacts, recognizers, context)
        return [*ours, *others]


def with_words(text: str, artifacts: Any) -> Any:
    """The artifacts with the words of the text, which only the context of Presidio's own recognisers needs."""
    places = [m.span() for m in _WORD.finditer(text)]
    spaces = [stop < start for (_, stop), (start, _) in itertools.pairwise(places)]
    words = [text[a:b].lower() for a, b in places]
    artifacts.tokens = Doc(_vocabulary(), [text[a:b] for a, b in places], [*spaces, False] if places else [])
    artifacts.tokens_indices = [a for a, _ in places]
    artifacts.lemmas = artifacts.keywords = words
    return artifacts


@cache
def _vocabulary() -> Vocab:
    return spacy.blank("en").vocab


_WORD = re.compile(r"\w+|[^\w\s]")


class WordsOnlyEngine(NlpEngine):  # type: ignore[misc]
    """An NLP engine without a model; words are cut only where context asks for them (`with_words`)."""

    def __init__(self) -> None:
        self._nlp: Any = None

    def load(self) -> None:
        self._nlp = spacy.blank("en")
        self._nlp.max_length = 10_000_000

    def is_loaded(self) -> bool:
        return self._nlp is not None

    def get_supported_entities(self) -> list[str]:
        return []

    def get_supported_languages(self) -> list[str]:
        return ["en"]

    def is_stopword(self, word: str, language: str) -> bool:
        del language
        return bool(self._nlp.vocab[word].is_stop)

    def is_punct(self, word: str, language: str) -> bool:
        del language
        return bool(self._nlp.vocab[word].is_punct)

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        return next(iter(self.process_batch([text], language)))[1]

    def process_batch(
        self,
        texts: Iterable[str],
        language: str,
        batch_size: int = 1,
        n_process: int = 1,
        **kwargs: Any,
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        del batch_size, n_process, kwargs
        for text in texts:
            yield text, NlpArtifacts([], None, [], [], None, language)  # type: ignore[arg-type]


class TaggerEngine(WordsOnlyEngine):
    """Adds to each text's artifacts what the tagger says of its words."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._tagger: Tagger | None = None

    def load(self) -> None:
        super().load()
        self._tagger = Tagger(self._folder)

    def process_batch(
        self,
        texts: Iterable[str],
        language: str,
        batch_size: int = 1,
        n_process: int = 1,
        **kwargs: Any,
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        del batch_size, n_process, kwargs
        assert self._tagger is not None
        every = list(texts)
        tagged: Sequence[list[TaggedWord]] = self._tagger.tag(every)
        for (text, artifacts), words in zip(super().process_batch(every, language), tagged, strict=True):
            artifacts.tagged_words = words  # type: ignore[attr-defined]
            yield text, artifacts


def tagger_analyzer(folder: Path, threshold: float) -> AnalyzerEngine:
    engine = TaggerEngine(folder)
    engine.load()
    recogniser = TaggerRecognizer()
    recogniser.threshold = threshold
    return _analyzer(engine, [recogniser])


def spacy_analyzer(package: str) -> AnalyzerEngine:
    """With the named entities of a spaCy package. Raises OSError if spaCy can't load it."""
    engine = SpacyNlpEngine(
        models=[{"lang_code": "en", "model_name": package}],
        ner_model_configuration=NerModelConfiguration(
            model_to_presidio_entity_mapping={
                "PERSON": "PERSON",
                "FAC": "LOCATION",
                "LOC": "LOCATION",
                "GPE": "LOCATION",
            },
            low_score_entity_names=[],
            labels_to_ignore=_SPACY_LABELS_NOT_USED,
        ),
    )
    engine.load()
    return _analyzer(engine, [presidio.SpacyRecognizer(supported_entities=["PERSON", "LOCATION"])])


_SPACY_LABELS_NOT_USED = [
    "CARDINAL", "DATE", "EVENT", "LANGUAGE", "LAW", "MONEY", "NORP", "ORDINAL", "ORG", "PERCENT", "PRODUCT", "QUANTITY",
    "TIME", "WORK_OF_ART",
]  # fmt: skip


def hugging_face_analyzer(folder: Path, threshold: float) -> AnalyzerEngine:
    """With a token classifier in a local Hugging Face folder, whatever labels it has that `tagger/labels` knows.

    Raises ScrubberError if it knows none.
    """
    engine = WordsOnlyEngine()
    engine.load()
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
    return _analyzer(engine, [recogniser])


def _analyzer(engine: NlpEngine, named_entities: Sequence[EntityRecognizer]) -> AnalyzerEngine:
    own = [cls(supported_language="en") for cls in _PRESIDIO_RECOGNISERS]
    registry = RecognizerRegistry(recognizers=[RuleRecognizer(), *named_entities, *own], supported_languages=["en"])
    return AnalyzerEngine(
        nlp_engine=engine,
        registry=registry,
        supported_languages=["en"],
        context_aware_enhancer=ContextForPresidiosOwn(),
    )


def findings(analyzer: AnalyzerEngine, text: str, artifacts: NlpArtifacts) -> Iterator[Span]:
    """All that the recognisers find in a text, with our labels and the names of the rules."""
    for found in analyzer.analyze(text=text, language="en", nlp_artifacts=artifacts, score_threshold=0):
        entity = found.entity_type
        label = entity.removeprefix(_ENTITY) if entity.startswith(_ENTITY) else _LABEL_OF_ENTITY.get(entity)
        if label is not None:
            rule = (found.recognition_metadata or {}).get("rule", f"presidio_{entity.lower()}")
            yield Span(found.start, found.end, label, rule, round(float(found.score), 3))
