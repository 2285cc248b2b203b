"""Words that a statistical recogniser takes for names and that are none: clinical terms, medicines, headings.

Owns the lists and how a finding is trimmed by them. A name that the report's metadata states is never trimmed.
Collected from the findings of en_core_web_sm 3.8 on MTS-Dialog and ACI-Bench; add what you see masked wrongly.
"""

import re
from collections.abc import Iterator

_HEADING_LINE = re.compile(r"^[ \t]*([A-Z][A-Z &/,()'-]{1,79}):?[ \t]*$", re.MULTILINE)
_TOKEN = re.compile(r"[^\s,;:/()\[\]{}\"“”•*|]+")
_DOSE_AFTER = re.compile(
    r"[ ]?(?:\(\w+\)[ ])?"
    r"(?:\d+(?:[.,/-]\d+)*[ ]?-?(?:mg|mcg|µg|g|ml|units?|iu|%|mm|cm|mmhg|x|times|tabs?|tablets?)?\b)",
    re.I,
)

HEADING_WORDS = frozenset(
    """ABDOMEN ABUSE ADMISSION ALLERGIES ALLERGY AND ASSESSMENT CARDIAC CARDIOVASCULAR CARE CC CHEST CHIEF COMPLAINT
    COMPLAINTS CONDITION CONSULTATION COURSE CURRENT DATA DIAGNOSES DIAGNOSIS DIAGNOSTIC DIALOG DIALOGUE
    DISCHARGE DISPOSITION DISCUSSION ED EDCOURSE EMERGENCY EVALUATION EXAM EXAMINATION EXTREMITIES FAM/SOCHX
    FAMILY FINDINGS FOLLOW FOLLOW-UP FOR GENERAL GENHX GYN GYNECOLOGIC GYNHX HEAD HISTORY HOSPITAL HPI ILLNESS
    IMAGING IMMUNIZATIONS IMPRESSION IN INFORMATION INDICATION INDICATIONS INSTRUCTIONS INTERVAL LAB LABORATORY
    LABS LIST LUNGS MEDICAL MEDICATION MEDICATIONS MENTAL MUSCULOSKELETAL NECK NEURO NEUROLOGICAL NOTE NOTES
    OBJECTIVE OF ON OPERATIVE OTHER PAST PASTMEDICALHX PASTSURGICAL PATIENT PHYSICAL PLAN PREOPERATIVE
    POSTOPERATIVE PRESENT PRESENTING PROBLEM PROBLEMS PROCEDURE PROCEDURES PSYCHIATRIC REASON RECOMMENDATION
    RECOMMENDATIONS REFERRAL REPORT RESPIRATORY RESULTS REVIEW REVIEWED ROS SECTION SIGNS SKIN SOCIAL STATUS
    STUDIES SUBJECTIVE SUMMARY SURGERIES SURGICAL SYMPTOMS SYSTEMS TESTS THE TO TREATMENT UP VISIT VITAL VITALS
    WITH""".split()  # noqa: SIM905
)

ORDINARY_WORDS = frozenset(
    """a a1c abdomen abdominal about accutane ace achilles acticoat actos acute adderall addison addison's additional
    adenoma advair advil afib agreed ah albuterol alcohol alert aleve allegra allergic allergies allergy alright
    also alzheimer alzheimer's ambien amlodipine amoxicillin analog and anemia ankle anonymous anxiety any apgar
    apnea appendectomy arthritis as asa aspirin assessment associated asthma at atenolol ativan atrovent
    augmentin avon awesome babinski bactrim baker's barrett barrett's bell's benadryl benzoyl biaxin bilateral
    biopsy bipolar bismol bless blood borax botox bowel bowels bp bph breast bronchitis brother brudzinski bun
    buspar but bye c-section cabg cad caesarean calcium caller cancer candida carcinoma cardiac cardiologist
    cardiology cardiovascular carpal cat catheterization celebrex celexa celsius cephalexin cephalosporins
    cervical cervically cesarean cetaphil chaddock charcot chemo chest chf chief childhood children cholesterol
    chronic cialis cigar cipro claritin clear clindamycin clozaril cn colace coli colon colonoscopy combivent
    complains complaint constitutional continue copd coreg coronary cortisol cough coumadin counseling covid
    covid-19 cozaar creatinine crestor crohn crohn's ct current cushing cushing's cv cylert cymbalta dad date
    daughter day daypro daytime dear decadron demerol denies depakote depression dermatology diabetes diabetic
    diagnosis dialog dialogue diarrhea diazepam diflucan digoxin dilantin dilaudid diovan disease ditropan dl dm
    do doc doctor doctor_2 doctors doppler dorsalis down downs doxepin dupuytren dvt dyspnea ear ears earth
    eating echo echocardiogram ecstasy eczema ef effexor ekg electrocardiogram eliquis emg emr ent epiduo
    epilepsy er esr essential etoh exam excedrin excellent exercise exforge eye eyes fahrenheit family father
    fedex female fentanyl fever fh fioricet first flagyl flexeril flomax flonase flovent flu foley folic follow
    followup for fracture framingham friend from g g2p2 gait gastroenteritis gastroenterology gel general
    genitourinary gerd glasgow gleason glucophage glucose glucotrol goal goodbye gord gram grandma grandpa
    graves gravida great grip gu guest guest_family guest_family_1 guillain-barre guillain-barré gyn
    gynecologist gynecology haldol hashimoto hashimoto's have hba1c hbv hcv he head headache heart heent hello
    hematologic hemoccult hemoglobin hep hepatitis hepatomegaly hernia hey hi hip hippel-lindau hirsutism his
    history hiv hives hmm hodgkin hodgkin's hoffman hoffman's holter homan homan's homans home hpi htn humalog
    human hydrocode hydrocodone hyperlipidemia hypertension hypoglycemia hypothyroidism hysterectomy i i.v
    ibuprofen icu illnesses imaging imitrex imp impression in inderal indicates infiltrating influenza inhaled
    inhaler insulin interpreter invega invokana it iv jaw jr kappa keflex kenalog keppra kernig kidney kinda
    klonopin knee l labs lachman lachman's lamictal lamisil lantus lasix lbp left lemme leukemia levaquin
    levothyroxine lexapro lima lipitor lisfranc lisinopril lithium liver loratadine lortab lovenox low lower
    lumbar lung lungs lupron lupus lyme lymphadenopathy lymphoma lyrica ma ma'am macrobid male mammogram
    mammography marfan marfan's marijuana maternal maybe mcburney mcisaac mcmurphy's mcmurray mcmurray's med
    medical medication medications medrol meds melanoma meld mellitus menarche meniere meniere's mentally
    metformin meth methotrexate metoprolol mgmt mhm mi microgestin micronase mild miralax miss mmr mobic
    moderate mom monitor montelukast morphine mother motrin mouth mr mri mrs ms murmur murphy murphy's muscle
    musculoskeletal my mylanta nah naprosyn naproxen nasal nasonex nausea neck negative neuro neurologic
    neurological neurologist neurology neurontin nexium niacin nitro nitroglycerin nkda no non-etoh none nonetoh
    nonsignificant nonsmoker nontender norco normal norvasc novolog nsaid nsaids nurse nystatin o2 ob ocd of oh
    ok okay omeprazole on ophthalmology orthopedic osteoarthritis osteoporosis otc other otitis overeaters
    oxycodone oxycontin oxygen pain pap parkinson parkinson's past patient patients paxil pcos pcp pe pedialyte
    pedis pelvic penicillin pepcid peptic pepto percocet perfect peroxide phalen phalen's phenergan phexxi
    phlebitis physical plan plaquenil plavix please pmh pneumonia pneumovax polyp polypectomy port positive
    pravachol prednisone premarin preop pressure prevacid prilosec primary prinivil procedure promethazine
    proscar prostate protonix proventil prozac psa psoriasis psychiatric pt ptsd pulmonary push qd radiology
    rate raynaud raynaud's rec reflux reglan remainder remeron remote renal repeat requip respiratory restoril
    results review rice right risperdal ritalin rn rocephin romberg romberg's ros roxicet s/p salivary sample
    sarcoma saturation scale schedule section sensation seroquel serous serum severe she shingles signs
    simvastatin singulair sinus sir sister sjogren sjogren's skin smoking so sob social solu-medrol soma son
    speaker spf spine spiriva spo2 spurling spurlings stairs staph status stent strep streptococcal
    streptococcus stroke sudafed sulfa sure surgeries surgery surgical survival swan-ganz symbicort syncope
    synthroid tab tamiflu tarka tb tegretol tenormin tetanus thank thanks the then theophylline therapy there
    they this throat thyroid tia tinea tinel tinel's tobacco tonsillectomy topamax toprol toradol tramadol
    trazodone treatment trendelenburg tsh tums tylenol type uh uhthoff ulcer ultram ultrasound um uri urine
    urology uti vaccine valium valsalva valtrex vancomycin vasotec vasovagal vdrl vein ventolin versed very
    viagra vicodin vioxx vital vitals vitamin voltaren vulgaris vytorin walgreens warfarin wbc we weight
    welbutrin well wellbutrin wife willebrand wnl wow x-ray x-rays xanax xarelto xolair yeah yep yes yesterday
    you zantac zestril zetia ziac zithromax zocor zofran zoloft zometa zostrix zyprexa zyrtec""".split()  # noqa: SIM905
)


def protected_lines(text: str) -> list[tuple[int, int]]:
    """Offsets of section headings: lines in capitals made of heading words only, so that no name is among them."""
    return [
        match.span(1)
        for match in _HEADING_LINE.finditer(text)
        if all(word in HEADING_WORDS for word in re.findall(r"[A-Z][A-Z/'-]*", match[1]))
    ]


def name_like_parts(text: str, start: int, end: int, is_facility: bool) -> Iterator[tuple[int, int]]:
    """What of a finding can be a name: line by line, without ordinary and lower-case words at its ends.

    The name of a facility keeps its ordinary words ("General Hospital"), but not "the" and "at" before it.
    """
    for line in re.finditer(r"[^\r\n]+", text[start:end]):
        offset = start + line.start()
        tokens = [(offset + t.start(), offset + t.end()) for t in _TOKEN.finditer(line[0])]
        kept = _without_function_words(text, tokens) if is_facility else _without_ordinary_words(text, tokens)
        if kept and not _DOSE_AFTER.match(text, kept[-1][1]):
            yield kept[0][0], kept[-1][1]


Offsets = list[tuple[int, int]]


def _without_ordinary_words(text: str, tokens: Offsets) -> Offsets:
    kept = list(tokens)
    while kept and _is_ordinary(text[slice(*kept[0])]):
        kept.pop(0)
    while kept and _is_ordinary(text[slice(*kept[-1])]):
        kept.pop()
    # "Vitamin D. Hepatitis C." leaves initials that stand by no name.
    words = [text[slice(*token)] for token in tokens]
    has_name = any(not _is_ordinary(word) and not _INITIAL.fullmatch(word) for word in words)
    return kept if has_name or not any(map(_is_ordinary, words)) else []


def _without_function_words(text: str, tokens: Offsets) -> Offsets:
    kept = list(tokens)
    while kept and text[slice(*kept[0])].lower() in _FUNCTION_WORDS:
        kept.pop(0)
    return kept if len(kept) > 1 else []


_INITIAL = re.compile(r"[A-Z]\.")
# Vertebrae, oxygen, grades and stages; and the speakers of a dialogue, such as Doctor_2.
_LETTER_AND_NUMBER = re.compile(r"[A-Za-z]\d{1,2}|[A-Za-z_]+_\d")
_FUNCTION_WORDS = frozenset(
    {"a", "an", "and", "any", "at", "by", "can", "did", "does", "every", "for", "from", "has", "her", "his", "in", "is"}
    | {"it", "last", "my", "near", "no", "of", "on", "our", "she", "the", "their", "this", "to", "via", "was", "with"}
    | {"we", "what", "when", "where", "which", "while", "who", "your", "he", "how", "i", "if", "admitted", "dr", "dr."}
)
_GENERIC_MEDICINE = re.compile(
    r"[a-z]{3,}(?:pril|olol|artan|statin|azole|mycin|micin|cillin|oxacin|prazole|zepam|zolam|tidine|triptan|dipine"
    r"|gliptin|gliflozin|mab|tinib|parin|xaban|cyclovir|cycline|thiazide|semide|sone|solone|caine|setron|formin|barbital"
    r"|profen|oxetine|traline|pramine|fenac|coxib|zosin|terol|lukast|glitazone|peridone|apine)"
)


def _is_ordinary(token: str) -> bool:
    if _INITIAL.fullmatch(token):
        return False
    bare = token.strip(".?!'’-")
    bare = bare[:-2] if bare.endswith(("'s", "’s")) and bare.lower() not in ORDINARY_WORDS else bare
    return (
        bare == bare.lower()
        or bare.lower() in ORDINARY_WORDS
        or _LETTER_AND_NUMBER.fullmatch(bare) is not None
        or _GENERIC_MEDICINE.fullmatch(bare.lower()) is not None
    )
