"""Rules for names that follow a title, a credential, a role or a form field.

The tagger handles rare names without such context.
"""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re

from fine_tune_assets.phi.recognizers.rules.rule import Rule, any_of, build_rule
from fine_tune_assets.phi.spans.identifier_words import ROLES

CAPITALISED = r"(?:(?:Mc|Mac|O['’]|D['’]|[AaEe]l-|St\.\ ?|de\ |van\ |von\ |der\ |la\ )?[A-ZÀ-ÖØ-Þ][\w'’]++(?:-[A-ZÀ-ÖØ-Þ][\w'’]++){0,4}+)"
_NAME = rf"(?:{CAPITALISED}|[A-Z]\b\.?)(?:[ ](?!I\b)(?:[A-Z]\b\.?|{CAPITALISED})){{0,3}}"
_RELATIVE = r"(?:wife|husband|daughter|son|mother|father|sister|brother|niece|nephew|partner|spouse|aunt|uncle|grand(?:son|daughter|mother|father)|fianc[ée]e?|caregiver|guardian|friend|cousin|neighbor)"
_FIELD = (
    r"(?:Patient(?:'s)?[ ]Name|Pt\.?[ ]Name|Full[ ]Name|(?:First|Last|Middle|Given|Family|Maiden|Preferred)[ ]Name|Name|Attending|Physician|Provider|Surgeon"
    r"|Referring|Ordering|Consultant|Dictated[ ]by|Transcribed[ ]by|Signed(?:[ ]by)?|Electronically[ ]signed(?:[ ]by)?|Author|Reviewed[ ]by|Performed[ ]by|Verified[ ]by"
    r"|Next[ ]of[ ]kin|Emergency[ ]contact|Guarantor|Subscriber|Insured|Guardian|Spouse|Contact|PCP|Attn|cc|Radiologist|Pathologist|Interpreter|Witness|Prescriber)"
)
_CREDENTIAL = r"(?:M\.?D\.?|D\.?O\.?|Ph\.?D\.?|R\.?N\.?|N\.?P\.?|P\.?A\.?(?:-C)?|PharmD|DDS|DMD|FACS|FACC|MBBS|LCSW|CRNA|APRN|ARNP|FNP|DPM|RPh|LPN|MSW|BSN|MSN|FACP|FRCP|MRCP|CNM|CNS|CNA|CMA|RNC|DNP|LMSW|LICSW|LCSW-C|PsyD|LMFT|LPC|DPT|OTR|CCC-SLP|RDN|RD|CDE|OD|AuD)"
_ROLE = any_of(ROLES)
_ROLE_IN_CAPITALS = r"(?:with[ ]|w/[ ]?|by[ ]|per[ ]|via[ ])(?:OT|PT|RD|SLP|MA|CNA|RT|SW|LPN|RN|NP|PA)"
_NOT_A_NAME = (
    r"(?!(?:I|The|He|She|They|It|We|You|Will|Has|Had|Is|Was|Who|If|Then|In|On|At|To|For|And|But|No|Not|Name|Practitioner|Manager|Specialist|Assistant|Services?|Team|Office|Clinic"
    r"|Unit|Eval|Consult|Therap|Session|Home|Goals|Notes?|Visit|Today|Daily|Department|Program|English|Spanish|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
    r"|[A-Z][a-z]*(?:tion|ment|ing|ology|therapy)|[A-Z]{2,})\b)"
)
_UPPERCASE_SURNAME = r"[A-ZÀ-ÖØ-Þ](?:['’]?[A-ZÀ-ÖØ-Þ]+)(?:[ '’-][A-ZÀ-ÖØ-Þ]+){0,2}"

RULES: tuple[Rule, ...] = (
    build_rule("name_after_title", "NAME", rf"""
        \b(?:(?:Drs?|Prof|Mrs?|Ms|Mx|Rev|Sgt|Capt|Messrs)\b\.?|(?:Doctor|Professor|Miss|Mister|Nurse[ ](?=[A-Z][a-z]+\b(?![ ](?:Practitioner|Manager)))|Sister(?=[ ]Mary)|Father(?=[ ]O'))\b)[ ]*(?!I\b)(?:[A-Z]\.[ ]?)*
        (?:{CAPITALISED}(?:[ ](?!I\b|(?:MD|DO|RN|PhD|NP|PA)\b)(?:[A-Z]\b\.?|{CAPITALISED})){{0,2}}|(?<=[A-Z]\.)|[A-Z]\b)""", 0.9, re.NOFLAG),
    build_rule("name_after_lowercase_title", "NAME", r"""
        \b(?:dr\.|dr|mr\.|mrs\.|ms\.|mister)[ ](?P<value>(?!who|is|was|and|the|said|at|in|of|to|for|on|has|had|will|when|if|about|that)[a-zà-ÿ]{2,}(?:[-'’][a-zà-ÿ]+)?)(?:[ ]?['’][ ]?s)?\b(?![ ](?:appointment|visit|office)\b)""",
        0.6, re.NOFLAG),
    build_rule("name_with_initial", "NAME", rf"\b(?!(?:For|Hep|Hepatitis|Doctor|And|The|With|Vitamin|Type|Group|Grade|Stage|Class|Per|By|To|From|In|On|Of|If|When|But|Or|So|Then|Plan|Part|Factor|Strep|Haemophilus|Patient|Dr)[ ]){CAPITALISED}[ ][A-Z]\.(?=[\s,;:?!)'’]|$)", 0.6, re.NOFLAG),
    build_rule("introduced_name", "NAME", rf"""
        \b(?i:patient(?:'s)?[ ]name(?:[ ]is)?|(?:my|his|her|their)[ ]name[ ]is|(?:patient|pt)[ ](?:named|called)|named|signed[ ]by|attn|goes[ ]by|(?:prefers|likes|wants|asks)[ ]to[ ]be[ ]called|nicknamed|nickname(?:[ ]is)?|answers[ ]to|a\.?k\.?a\.?|n[ée]e|introduced[ ](?:him|her|them)sel(?:f|ves)[ ]as|known[ ]as|maiden[ ]name)[:,]?[ ]+['"“‘]?
        (?P<value>{_NAME})""", 0.8, re.NOFLAG),
    build_rule("name_field", "NAME", rf"""
        (?:^|(?<=[\n|;,\t])|(?<=[ ]{{2}}))[ \t]*(?:{_FIELD}|{_FIELD.upper()}|PATIENT|FROM|TO|MOTHER|FATHER)[ \t]*[:=|][ \t]*(?:Dr\.?[ ])?
        (?P<value>{CAPITALISED}(?:(?:,[ ]?|[ ]|\^)(?:[A-Z]\b\.?|{CAPITALISED})){{1,3}})(?=[\s,;|)]|$)""", 0.7, re.NOFLAG),
    build_rule("name_and_credential", "NAME", rf"(?P<value>{CAPITALISED}(?:[ ](?:[A-Z]\b\.?|{CAPITALISED})){{1,3}}),?[ ]{_CREDENTIAL}(?![\w])", 0.75, re.NOFLAG),
    build_rule("name_of_relative", "NAME", rf"\b(?i:{_RELATIVE})(?:,[ ]|[ ]\(|[ ](?:is[ ]|named[ ]|called[ ])?)(?P<value>(?!I\b|May\b){CAPITALISED}(?:[ ]{CAPITALISED})?)(?=[,.)\s;])", 0.6, re.NOFLAG),
    build_rule("name_after_role", "NAME", rf"(?:{_ROLE}|{_ROLE_IN_CAPITALS})(?:,[ ]|[ ]\(|[ ](?:is[ ]|named[ ]|called[ ])?)(?P<value>{_NOT_A_NAME}{CAPITALISED}(?:[ ]{_NOT_A_NAME}{CAPITALISED})?)(?=[,.)\s;:'’]|$)", 0.6, re.NOFLAG),
    build_rule("surname_first", "NAME", rf"""
        (?<![\w'’-]){_UPPERCASE_SURNAME},[ ]?{CAPITALISED}(?:[ ](?:[A-Z]\b\.?|{CAPITALISED}))?
        (?=\s{{0,4}}[-–—(,|]?\s{{0,3}}(?:\d{{1,3}}[ ]?(?:yo|y/o|y\.o\.)?[ ]?[MF]\b|\d{{2}},|DOB\b|MRN\b|\d{{6,}}\b|\d{{1,3}}[ ]?(?:yo|y/o)\b))""", 0.8, re.NOFLAG),
    build_rule("names_with_ages", "NAME", rf"(?:[Kk]ids|[Cc]hildren|siblings|twins|triplets|daughters|sons|sisters|brothers)\b[^.\n]{{0,25}}?[(:,][ ]?(?P<value>{CAPITALISED}[ ,]{{1,2}}(?:\(\d{{1,2}}\)|\d{{1,2}}\b)(?:(?:,[ ]|[ ]and[ ]|,[ ]and[ ]|[ ]&[ ]){CAPITALISED}[ ,]{{1,2}}(?:\(\d{{1,2}}\)|\d{{1,2}}\b))*)(?![\w/.%]|[ ]?(?:mg|ml))", 0.7, re.NOFLAG),
    build_rule("closing_initials", "NAME", r"(?<=\n)[-–—~][ ]?(?P<value>[A-Z]{2,3})\s*\Z", 0.7, re.NOFLAG),
)  # fmt: skip
