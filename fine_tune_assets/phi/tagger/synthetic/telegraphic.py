"""Notes in the short manner of wards, telephones and lists, with identifiers and without.

Owns the lines. What `{name}` and the like stand for is said in `documents`. Our own text.
"""

from fine_tune_assets.phi.tagger.synthetic.templates import lines_of

SHORT_NOTES = lines_of("""
{shortdate}: {abbr} neg, {finding}. {shortdate}: {abbr} repeat.
{abbr} {shortdate} NGTD. {abbr} {shortdate} pending.
{medicine} last filled {shortdate}, due {shortdate}.
s/p {procedure} {shortdate} ({doctor}), POD {digit}.
{procedure} {shortdate} at {facility}, uneventful.
{abbr} {shortdate} w/ {finding}; {abbr} {shortdate} unchanged.
Hx: {disease} {shortdate}, {disease} {year}, {procedure} {shortdate}/{year}.
Last seen {shortdate} by {doctor}. Next {shortdate} @ {clock}.
{medicine} started {shortdate}, stopped {shortdate} for rash.
d/c {shortdate} to {facility}. f/u {doctor} {shortdate}.
{clock4} {shortdate} {roleshort} {first}: {finding}, resting.
{shortdate} {clock4} - {exam}: {finding}. {initials}
{roleshort} {first} at bedside. {relativeshort} {first} called x2.
with {roleshort} {first} and {roleshort} {first}; tolerated well.
time-out w/ {roleshort} {first}, {roleshort} {last} and {doctor}.
{roleshort} {last} notified at {clock4}, orders rec'd.
{relativeshort} ({first}) wants update; {relativeshort} {first} HCP.
lives w {relativeshort} {first} and kids ({first} {digit}, {first} {digit}).
sibs {first} ({digit}) and {first} ({digit}) well.
{first} crying, consolable. {first} took {digit} oz. Mom {first} at bedside.
Thanks, {first}
- {first}
Sincerely yours, {first} {last}
{initials}
Dictated {date}, transcribed {date}, {initials}
{lastupper}, {first} - {age}, {disease}. {abbr} {finding}.
{lastupper}, {first} {age}{sexletter} {disease}, {abbr} pending
1. {lastupper}, {first} – {age}, {disease}, {abbr} {finding}. 2. {lastupper}, {first} – {age}, {disease}.
{last}, {initials}. rm {digit}12: {disease}, {finding}
Rm {digit}04 {last}: {disease}. To do: {abbr}, call {relativeshort}.
Bed {digit} {last} {age}{sexletter} {abbr} {finding}; bed {digit} {last} {age}{sexletter} {disease}
{digit}B {last} - {disease}, {medicine}; {digit}C {last} - {abbr} today
Sign-out: {last} sick, {last} stable, {last} to {facility} {shortdate}.
{last} team aware. Per {last} fellow, hold {medicine}.
Discussed w/ {last} (GI), {last} (IR) and {doctor}.
Consults: {last}/cards, {last}/renal.
Surgeon {last}; asst {last}; anes {last}; scrub {first}; circ {first}.
Attg {last}, res {last}, {roleshort} {first} {last}.
Pt of {last}. Covering: {last}.
Page {last} p{digits4} or call x{digits4}.
call {relativeshort} at ext {digits4} or {phone}
{phone} (h), {phone} (c), ok to lvm. Email {email}
ph {phone}; fax {fax}; attn {first}
tel {phonespaced}
his number is {phonewords}
you can reach me at {phonewords}
fax that to {phonewords} please
record number {numberwords}
member id {numberwords} , date of birth {spokendate}
date of birth {spokendate}
birthday is {spokendate} , so i'm {age}
INR from the {ordinal}; recheck on the {ordinal}.
seen on the {ordinal} and again {weekdayshort} the {ordinal}
on {weekdayshort} {ordinal} she fell; {weekdayshort} {ordinal} ED
due the {ordinal} of {monthlower}
symptoms since {holiday}; worse after {holiday}
fell on {holiday}, ED {holiday} {year}
family visiting for {holiday}. Off {medicine} since {holiday}.
last drink was {holiday}, before that {holiday} {year}
since {monthlower} she has had {disease}
in {monthlower} he was started on {medicine}
{monthlower} {digit} or {digit}
moved here in {monthyear} from {city}
trauma near {city} exit {digit}{digit}, brought by {site} EMS
MVC on {streetname} at {streetname}
clinic on {streetname}; the other one on {streetname}
lives off {streetname} in {city}
from {citylower}, drives in from {citylower}
works at the {employer} in {city}; {relativeshort} at {employer}
{relativeshort} {first} teaches at {school}; {first} in 3rd grade at {school}
school nurse at {school}, {first}, {phone}
Referral to {site} for {disease}.
Followed at {site} ({doctor}) and at {site}.
Records from {site} and {site} rec'd {shortdate}.
Imaging at {site} {shortdate}: {finding}.
{site} | {site} | {site}
Rx to {site} on {streetname}, {city}.
DME from {site}; infusion by {site}.
tx from {site} via {site} EMS, accepted by {doctor}
dialysis at {site} TTS, dry wt 71.2, {doctor}
{site} called: {abbr} {finding}, fax {fax}
died at {age90} of {disease}. Her {relativeshort} is {age90} and well.
{relativeshort} lived to {age90}; {relativeshort} d. at {age90}
he's {age90} and still drives. she's {age90}
{first} is {age} mo, here w {relativeshort} {first}. Vax utd: {medicine} {shortdate}.
G2P1 at 31w, EDD {shortdate}, partner {first}. Wants {facility}.
Hi, this is {first}. My {medicine} ran out on {shortdate}, can {doctor} refill? Thx {first} {last}
hi its {firstl} {lastl} dob {datel} i still have pain since {datel} can u call {phone}
{firstl} here, {lastl} is my dr. i was at {sitel} on {datel}
Dear {first}, your {abbr} of {shortdate} is normal. {doctor}
Hello {last} family, the visit on {date} is at {site}, {address}.
to: {name} from: {name} re: {name} {date}
MRN {mrn} | acct {account} | {shortdate} | {last}
Ref {id}; auth {id} thru {shortdate}; grp {plan}
Lot {device} exp {monthyear}. Serial {device}. Implant {devicebrand} {device}.
Specimen {id} collected {shortdate} {clock4} rec'd {shortdate}
Claim {id} DOS {shortdate} {facility} billed to {account}
Rx {id} {medicine} {dose} #30 RF{digit} {doctor} DEA {dea}
Officer {last}, badge {id}, {city} PD; case {id}
CPS worker {first} {last} {phone}; case {id}
APS: {name}. Lawyer {name}. Landlord {last}.
{roleshort} {first} {last} visited; coworker {first} drove.
roommate {first}, boyfriend {first}, ex-husband {first}
godmother {first}, cousin {first} in {city}
stepdad {first} {last} ({employer}) pays for {medicine}
{room}  {lastupper}, {firstupper}  {age}{sexletter}  {digits}  {disease}, {abbr} d{digit}
{room}   {lastupper}, {firstupper}   {age}{sexletter}   {digits}   {medicine}, {abbr} {shortdate}
{room} {last}, {first} {age}{sexletter} {digits} {disease}, {finding}
{room} {lastlower}, {firstlower}  {finding}  {abbr} {finding}
Bed {digit} / {last}, {first} / {age}{sexletter} / {digits}
I - stable. {last}, {first} {age}{sexletter}, {disease}. Team {colour}.
W - {first} {last}, G{digit}P{digit}, {disease}, wants {procedure}.
{abbr} by {last} {finding}. Read by {last}.
Recheck {shortdate} with {roleshort} {first}. {abbr} {shortdate} with {first}.
w/ {first} and {first}; cerclage w/ {first}. {medicine} per {first}.
Ask for {first}, ext {digits3}. {first} will have {first} set it up.
have {firstl} up front call {firstl}, ask for {firstl}
{first}! Come here, {first}! Mind the step, {first}.
Don {first}, do you have pain? Doña {first} is here. Ms. {first}, sit down. Miss {first} drove.
{last}, PGY{digit}; staffed w/ {last}. {last}, MD. {first} {last}, MS4 / {last} PGY2
Medic {name}, cert {license}. Deputy {last}. Notary {name}. Witness {name}. Prescriber {name}.
OMBUDSMAN {nameupper} NOTIFIED {shortdate}. NIECE {nameupper} CALLED {clock4} {phone}, UPSET.
SON {firstupper} DRIVING. NEIGHBOR {firstupper} DROVE HIM IN. RN {firstupper} AWARE.
Signed {name}   {shortdate}. I, {name}, born {date}, agree.
Initials {initials2}, consented {shortdate}. - {initials2}
{initials2} {shortdate}
repaired {shortdate} under block; removed {shortdate}; placed {shortdate}; off {clock4} {shortdate}; given {shortdate} {clock4}
{date} {clock4}  {roleshort} {last}
{facility}   {date} {clock4}
Collected: {date} {clock}   Rcvd: {date} {clock}
{site}, {department}, {ukaddress}
{ukaddress}
Discharged to {street}, {city}, in good condition.
Lives at {street}, {city}. Moved to {streetname}.
Case No. {id}   Collected {date}   A. {body}, B. {body}
{lastupper} {firstupper}    {date}    {digits}
{mrn} / {lastupper} / {sexletter} / {date}
Attends {school} {digit} d/wk; {first} at {school}. Residential at {site}.
Taken to {stem}. Admitted at {stem}. Scans from {stem}. Off {streetname}, near exit {digit}{digit}.
She said "{first} took it". Tell {first} and {first} thanks. Best, {first}
""")

SHORT_CLEAN = lines_of("""
{exam}: {finding}. {exam}: WNL. {exam}: {finding}.
{abbr} {finding}, {abbr} neg, {abbr} pending, {abbr} wnl.
{eponymname} neg. {eponymname} + on R. {eponymname} absent, {eponymname} equivocal.
{eponymname} {romannumeral}, {eponymname} score {digit}, {eponymname} criteria met.
{eponymname} sign neg, {eponymname} test +, {eponymname} maneuver deferred.
{eponymname} {digit}, {eponymname} grade {romannumeral}, {eponymname} class {sexletter}.
{eponymname} and {eponymname} signs negative bilaterally.
by {eponymname} criteria; {eponymname} classification type {romannumeral}
modified {eponymname} technique with {devicebrand}
{eponymname} procedure, {eponymname} repair, {eponymname} incision closed with {devicebrand}
GFR by {eponymname}; QTc by {eponymname}; EDD by {eponymname}
{medicine} {dose}, {medicine} {dose}, {medicine} {dose}
{medicine}/{medicine}/{medicine} on board. Hold {medicine}.
Home meds: {medicine}, {medicine}, {medicine} prn, {medicine} qhs
d/c {medicine}; start {medicine} {dose}; cont {medicine}
Failed {medicine} and {medicine}, now {medicine} x {duration}.
Due for {medicine} and {medicine}. Declined {medicine}.
{medicine} vs {medicine}? Allergic to {medicine} (hives).
Took {medicine} and some {medicine} from the store.
{devicebrand} in place, draining. {devicebrand} removed w/o difficulty.
{devicebrand} DC'D {clock4}. {devicebrand} to gravity. {devicebrand} changed.
Closed in layers w {devicebrand} and {devicebrand}. {devicebrand} placed.
{devicebrand} size {digit} implanted. Exchanged over {devicebrand}.
{clock4} {finding}. {clock4} {finding}. {clock4} {medicine} given.
at {clock4} {medicine} {dose}, at {clock4} pain {digit}/10
on at {clock4}, off at {clock4}, total {digit}5 min @ 250 mmHg
{age}{sexletter} c {disease}, {abbr}, {abbr}. {finding}.
{age} yo {sexletter} {disease} x {duration}, {finding}
VS {finding} {finding} {finding}
ABG {finding} on {finding}
IOP {finding}. VA {finding} / {finding}.
I/O {finding}. {exam}: {finding}.
LABS: {finding} {finding} {finding}
{lab} {lab} {lab} {finding}
PACU to floor. NPO p MN. {abbr} in am. {abbr} today.
Per CLIA and CAP. PGY3 covering. MS3 scribed. {abbr} aware.
No SI/HI. A&O x{digit}. CIWA {digit}. RASS 0.
Neuro checks q{digit}h. Turn q2h. SCDs on. HOB 30.
TO DO: {abbr}, {abbr}, wean O2, {abbr} consult, dispo.
IMPRESSION: {finding}. {eponymname} {romannumeral}. BI-RADS {digit}. LI-RADS {digit}.
Bosniak {romannumeral} cyst. Fleischner follow up in {duration}. TI-RADS {digit}.
Rome {romannumeral}, Los Angeles grade B, Paris classification, Prague C{digit}M{digit}, Boston bowel prep score {digit}.
Gram stain: GPCs in clusters. {abbr} {digit}/{digit}. Strep neg. Candida on UCx.
p53 wild type, Ki-67 {digit}0%, ER 95%, HER2 {digit}+, MLH1 intact, KRAS G12C, BRAF V600E.
del(17p), t(9;22), 46,XX, JAK2 V617F, CD34 {digit}%, CD19 {digit}.{digit}.
Factor V Leiden, protein C and S, anti-Xa, Anti-Jo-1, anti-Ro, c-ANCA neg.
Vitamin K, Hep B #{digit}, Rh neg, Duffy neg, Kell neg, Lewis antigen.
C5-6 disc, L4/5 facets, T7-8, S1 screw, T12 burst, C2 dens.
PATIENT INSTRUCTIONS: Take {medicine} with food. Do not drive. Call if T > 101.
CONSENT: Risks, benefits and alternatives were explained. I understand. Signature of patient. Witness. Date. Time.
ASSESSMENT: {disease}. PLAN: {abbr}, {medicine}. DISPOSITION: home.
Wt {digit}{digit} kg, up {digit} kg since last visit. {digit} ppd x {digit}0 y. Diet: low Na.
Rate 80, PR 160, QRS 90, QTc 440, axis nl. NSR, no ST changes.
Step {digit}: {medicine}. Step {digit}: {medicine} bid. Peak flow {digit}{digit}0.
May take Tylenol. March in place 20 times. Will start PT. Mark the spot. Rose to 3.1. Grant of refill.
Medtronic rep called. Joint Commission survey. Medicaid pending. Uber home. Zoom visit. MyChart message.
Drinks Coke and Gatorade, smokes Marlboro, eats at McDonald's, shops at home, uses Vaseline and Desitin.
Spanish interpreter used. Catholic. Navy veteran. Vietnam era. African American. Ashkenazi. Mediterranean diet.
Born in {year}. Menopause {year}. Retired {year}. Quit {year}. {disease} {year}, {year} and {year}.
x{digit} days, q{digit}-{digit}h, {digit}-{digit} times, {digit}/{digit} toes, {digit} of {digit} nodes, {digit} x {digit} cm
Seen today, yesterday, last night, this am, over the weekend, last week; RTC {duration}.
5th metatarsal fx, 2nd toe, 4th digit, 3rd trimester, 1st line, 12th rib, 2nd degree burn, 7th CN intact.
{medicine} {slashdose}; {medicine} {slashdose} bid. BiPAP {slashdose}, CPAP 8. D5 1/2 NS @ 75. Swan 22/8/14.
Case No. and MRN on label. A. Received in formalin. B. Left breast. GROSS: A. Fragment. C. Margin.
Department of Medicine. {department}. {department} clinic.
{department}, floor {digit}. {department} consult. Consultant {department}.
Paged resident. Prescriber note. Signed below. Notary seal. Witness signature. Beeper on. Pager off. Team {colour}.
Mom says agua, mama, papa and no. Abuela helps. Golden retriever Biscuit. Honda Odyssey, airbag out. Unit 12 on scene.
RIJ, L IJ, R fem, L rad art, TLC. Lines: {abbr}, {abbr}. DNR/DNI. TTY 711. CLIA 05D{digit}{digit}{digit}1274. GINA reviewed.
Skin tests: cat 6/18, D. farinae 4/12, histamine 5/15, saline 0/0. E. coli, K. pneumo, S. aureus, C. albicans.
Deauville {digit}, Fleischner, Tyrer-Cuzick, Yale-Brown {digit}, Montgomery-Asberg 22
Lund-Mackay 11, Jerger B, Pfirrmann {romannumeral}, Modic {digit}.
Boston Naming 54/60, Wisconsin card sort, Stroop, Trails B, Rey figure
Mayo score {digit}, Seattle protocol, Ghent criteria, Yale protocol.
GE, Philips, Siemens, Baxter and Alaris pumps. Bard PowerPort. Delta Dental plan. Aetna and Cigna denied.
crown, endo, RCT, veneer. saw him driving, flying, walking. Dean of students. Dean and chaplain aware.
Mon-Fri 8 to 5. 4-6 wk. 0-120. ROM 4-96. Midnight. 4pm. 12 mo.
Version 6. Rev {year}. Summer {year}, winter {year}, spring of {year}.
Amount billed $8,412.00. Copay $25.00. Plan pays 80%. Line 3: 99213 $185.00. Balance $0.00.
user logged out, eConsult sent, MyChart read, handle unknown, dictated but not read
Room 12, bed 4, floor 3, tower 2, pod C, line 1, page {digit}, item {digit}, table {digit}, fig {digit}.
""")

HOLIDAYS = lines_of("""
Thanksgiving
Christmas
Christmas Eve
Christmas Day
New Year's Eve
New Year's Day
New Year's
Halloween
Easter
Easter Sunday
Mother's Day
Father's Day
Memorial Day
Labor Day
Columbus Day
Veterans Day
Independence Day
July 4th
the Fourth of July
the 4th of July
Valentine's Day
St. Patrick's Day
Presidents' Day
MLK Day
Super Bowl Sunday
Good Friday
Hanukkah
Passover
Yom Kippur
Rosh Hashanah
Diwali
Eid
Ramadan
Lunar New Year
Boxing Day
Cinco de Mayo
Juneteenth
Groundhog Day
""")
