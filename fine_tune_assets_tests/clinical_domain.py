"""The clinical domain pack and what is built from it, for tests."""

from fine_tune_assets.phi.recognizers.domain_rules import load_rules
from fine_tune_assets.phi.spans.vocabulary import load_vocabulary
from fine_tune_assets.recipes.domain_packs import load_pack

PACK = load_pack("clinical")
SECTION_NAMES = PACK.section_names
CHECKS = PACK.pack.checks
VOCABULARY = load_vocabulary("clinical")
RULES = load_rules("clinical")
