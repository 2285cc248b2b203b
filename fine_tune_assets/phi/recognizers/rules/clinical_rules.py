"""Rules of clinical reports: care sites, record and plan numbers, devices, dictation marks, and dates of tests and visits."""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re

from fine_tune_assets.phi.recognizers.rules.date_rules import ANY_WEEKDAY, MONTH_NUMBER, NUMBER
from fine_tune_assets.phi.recognizers.rules.name_rules import CAPITALISED
from fine_tune_assets.phi.recognizers.rules.number_rules import build_number_rule
from fine_tune_assets.phi.recognizers.rules.rule import Rule, build_rule
from fine_tune_assets.phi.recognizers.short_dates import NO_NUMBER_BEFORE, NO_QUANTITY_AFTER

_CARE_SITE = (
    r"(?:Hospitals?|Medical\ (?:Center|Centre|Group|Associates)|Health\ (?:Center|Centre|System|Services|Clinic)"
    r"|Healthcare(?:\ (?:Center|System))?|Clinics?|Infirmary|Nursing\ Home|Rehabilitation\ (?:Center|Hospital)"
    r"|(?:Family|Primary|Urgent|Specialty)\ Care|(?:Surgery|Cancer|Heart|Trauma|Care|Dialysis|Imaging|Eye|Wellness|Oncology)\ Cent(?:er|re)"
    r"|Institute|Pharmacy|Sanatorium|Memorial|Med\.?\ (?:Cent(?:er|re)|Ctr)|Health\ Care|Hosp"
    r"|(?<!Mental\ )(?<!Public\ )(?<!Home\ )(?<!Behavioral\ )(?<!Women's\ )(?<!Oral\ )Health|General(?!\s?:)|Gen|Med|Hospice|Orthop(?:a)?edics|Pediatrics)"
)
_EVENT = (
    r"[BUSC]Cx|[bu]c/?s|cx|cultures?|KUB|CXR|X-?rays?|XR|CT|CTA|CTPA|MRI|MRA|MRCP|MBSS|EGD|ERCP|EEG|EMG|EKG|ECG|TTE|TEE|echo|cath|LHC"
    r"|colonoscopy|mammogram|mammo|dexa|pet|ultrasound|doppler|biopsy|bx|CVA|TIA|STEMI|NSTEMI|LP|PFTs?|TKA|THA|TKR|THR|ORIF|CABG|surgery|labs"
    r"|LMP|EDD|EDC|retina|(?:tick|dog|cat|bug)[ ]bite(?:[ ]\w+)?|repaired|placed|removed|filled|refilled|refill|collected|drawn|delivered|dispensed|onset|started|stopped"
    r"|held|resumed|extubated|intubated|transferred|admit|adm|d/c|dc|cancel(?:led|ed)?|rescheduled|reschedule|expires?|exp|rtc|f/u|follow[ -]?up"
    rf"|{ANY_WEEKDAY}|signed|dictated|reviewed|updated"
)

RULES: tuple[Rule, ...] = (
    build_rule("dictation_initials", "NAME", r"^(?!BP|HR|RR|PT|OT|CT|MR|IV|PO|SC|IM|AM|PM|CC|ID|RE|AP|PA)[A-Z]{2,3}[/:][a-z]{2,3}(?=[ \t]*$|[ \t]{2,}|[ \t]+[DT]{1,2}:)", 0.7, re.MULTILINE),
    build_rule("hl7_name", "NAME", r"(?<![\w^|])[A-Z][A-Za-z'’-]+\^[A-Z][A-Za-z'’-]*(?:\^[A-Za-z.'’-]*)*", 0.9, re.NOFLAG),
    build_rule("care_site", "FACILITY", rf"""
        \b(?:{CAPITALISED}|[A-Z]{{2,6}})(?:(?:[ ]|-|[ ]of[ ]|[ ]and[ ]|[ ]&[ ])(?:{CAPITALISED}|[A-Z]{{2,6}})){{0,4}}?
        (?:[ ]{_CARE_SITE}\b){{1,3}}(?:[ ](?:of|at|in)[ ]{CAPITALISED}(?:[ ]{CAPITALISED}){{0,2}})?""", 0.7, re.NOFLAG),
    build_rule("known_care_site", "FACILITY", r"""
        \b(?:Mayo|Kaiser(?:[ ]Permanente)?|Johns?[ ]Hopkins|Cleveland(?=[ ]Clinic)|Cedars[- ]Sinai|Mount[ ]Sinai|UCLA|UCSF|NYU|UPMC|OHSU
        |Mass[ ]General|MD[ ]Anderson|Walgreens|CVS|Rite[ ]Aid|Walmart|Sloan[ -]Kettering|Dana[- ]Farber|Massachusetts[ ]General)\b(?:[ ](?!for\b)[A-Z]\w+){0,2}""", 0.7, re.NOFLAG),
    build_rule("date_after_event", "DATE", rf"{NO_NUMBER_BEFORE}(?P<value>{MONTH_NUMBER}[/-]{NUMBER}){NO_QUANTITY_AFTER}", 0.7,
         context_before=rf"(?<!\w)(?:{_EVENT})(?:[ ](?:his|her|the|was|is|done|x\d|on|from|again|last|repeat|here|[A-Z][a-z]+))?[\s:(,]+"),
    build_rule("appointment_date", "DATE", r"(?<![\w/.-])(?P<value>(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])|(?:0?[1-9]|1[0-2])/(?:0?[1-9]|[12]\d|3[01]))(?=[ ](?:appt|appointment|labs?\b|admission))", 0.7),
    build_number_rule("record_number", "MRN", r"mrn|mr|m\.r\.n\.?|mr[ ]?n|medical[ ]record|med[ .]*rec|hospital[ ](?:number|no|record|id|chart)|chart|patient[ ](?:id|identifier|number|no)|pt[ ]id|health[ ]record|record|file|unit[ ]number|emr|ehr|epi"),
    build_number_rule("plan_number", "HEALTH_PLAN", r"policy|member(?:ship)?|subscriber|beneficiary|health[ ]?plan|insurance|insurer|plan|group|medicare|medicaid|mbi|hicn|payer|coverage|hmo|ppo|ins"),
    build_number_rule("device_number", "DEVICE", r"serial|s/n|sn|device|implant(?:ed)?(?:[ ]device)?|pacemaker|icd[ ]serial|lot|udi|imei|model[ ]serial|generator|prosthesis"),
    build_rule("npi_number", "LICENSE", r"\bnpi\b\W{0,3}(?P<value>\d{10})\b", 0.95),
    build_rule("dea_number", "LICENSE", r"(?<![\w-])[ABCDEFGHJKLMPRSTUX][A-Z9]\d{7}(?![\w-])", 0.8, re.NOFLAG),
    build_rule("medicare_beneficiary_id", "HEALTH_PLAN", r"(?<![\w-])[1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}(?![\w-])", 0.9),
    build_rule("device_identifier", "DEVICE", r"\(01\)\d{14}(?:\(\d\d\)[A-Z0-9]{1,20})*", 0.95),
)  # fmt: skip
