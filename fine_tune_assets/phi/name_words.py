"""What stands around names, and words and abbreviations that are names only sometimes.

Owns what each list in `reference/name_words.txt` is for.
"""

from pathlib import Path

from fine_tune_assets.core.word_lists import read_lists

_FILE = read_lists(Path(__file__).parent / "reference" / "name_words.txt")
_LISTS = {name: frozenset(words) for name, words in _FILE.items()}
ALSO_WORDS = _LISTS["also_words"]
"""Names that are ordinary words too: alone, only the capitalised word is the name. Without this, every "good" and "may"
goes from the report of a Dr. Good."""
EPONYMS = _LISTS["eponyms"]
"""Persons after whom something in medicine is called."""
DISEASES_ALONE = _LISTS["diseases_alone"]
"""Eponyms that are said without "disease", in lists of such: "Hashimoto's, Graves, Crohn's"."""
PERSONS_IN_ORDINARY_WORDS = _LISTS["persons_in_ordinary_words"]
"""Persons after whom something is called among the ordinary words; where such a name is the patient's, it is a name."""
EPONYM_NOUN = (
    r"(?:disease|syndrome|sign|test|palsy|maneuver|manoeuvre|criteria|score|scale|lymphoma|thyroiditis|contracture|cyst"
    r"|catheter|chorea|dementia|bodies|body|esophagus|oesophagus|fracture|phenomenon|monitor|procedure|reflex|triad|tumou?r"
    r"|sarcoma|carcinoma|hernia|point|position|node|nodes|ulcer|gangrene|paralysis|ataxia|anomaly|malformation|nephropathy"
    r"|encephalopathy|psychosis|orbitopathy|ophthalmopathy|dermopathy|classification|grade|stage|lamp|duct|gland|forceps"
    r"|retractor|solution|pouch|diverticulum|arthropathy|joint|deformity|law|curve|index|impingement|operation|stain|tick"
    r"|virus|infection|agglutination|patch|patches|lines?|spots?|nodules?|type|coma|equation|granulomatosis|tendon|drain|purpura"
    r"|neuroma|protocol|technique|lactate|fundoplication|gait|levels?|tear|ring|lesions?)"
)
TITLES = _LISTS["titles"]
SPOKEN_TITLES = _LISTS["spoken_titles"]
"""After these, a word in lower case may be any word: the doctor will see you."""
CREDENTIALS = _LISTS["credentials"]
PARTICLES = _LISTS["particles"]
NO_NAMES = _LISTS["no_names"]
"""What fields for names hold when there is no name."""
ABBREVIATIONS = _LISTS["abbreviations"]
"""What capitals mean in notes, and the states of the USA: never taken for initials. With what two or three capitals stand twice
in the notes of MTS-Dialog, ACI-Bench and PriMock57 and in PubMedQA."""
DOTTED_ABBREVIATIONS = _LISTS["dotted_abbreviations"]
"""What is written with dots and is no name: M.D., p.o."""
ROLES = _FILE["roles"]
"""Relatives, friends and people at work, after whom a name may stand: sister Ann."""
SURROGATE_TITLES = _LISTS["surrogate_titles"]
SURROGATE_CREDENTIALS = _LISTS["surrogate_credentials"]
SURROGATE_PARTICLES = _LISTS["surrogate_particles"]
"""Parts of a name that stay when the name is replaced."""
SHORT_NAMES = _LISTS["short_names"]
"""Names of two letters."""
