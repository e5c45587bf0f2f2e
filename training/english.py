"""What plain questions know of English: words that tell what a sentence is like, forms that can be turned round.

Keeps true: no pattern matches across lines; words are whole and, but for names and first words, in small letters.
Does not know: how a question is made of what is found here, or grammar. What fits by chance becomes nonsense.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _any(text: str) -> str:
    return f"(?:{'|'.join(text.split())})"


ARTICLES = _words("The the A a An an")
DETERMINERS = _words("the a an his her their its")
ADVERBS = _words("usually often also then never ever always still only now generally once thus even just")
# What no question ends with, and what stands before a number that is not asked for.
UNENDING = _words("and or but the a an that which who than as is was were are then also when while")
FIXED = _words("the a an these those his her their its last first next every other all age of than")
OF_PERSONS = _words("said wrote thought knew spoke told died lived married cried asked sat ate drank wore")
PERSONS = _words("""
    king queen prince princess man woman boy girl wife husband mother father son daughter brother sister giant lad
    maiden witch fisherman soldier farmer servant child children emperor president doctor captain merchant youth lady
    lord uncle aunt tailor miller shepherd hunter stranger beggar fairy ogre author engineer teacher
""")
BEFORE_WHOM, BEFORE_PLACES = _words("by to with for from of"), _words("in at near")
EMPTY = _words("There It Here This What")  # subjects that say nothing
TITLES = _words("Dr Mr Mrs Sir Lord King Queen President")
LOWERED = _words("""
    The A An In On At By His Her Their Its He She They It We This These Some Many Most After During As For From Both All
    One Two Three Other Another Each Every When While
""")
_TURNED = "is was are were can could will would must may should"
BE = _words("is was are were")
_VERBS = """
    is was are were has had have can could will would must may became began begins made won took led gave held wrote
    found built said ran left came went grew saw got kept sent met lost died lived moved played worked helped opened
    used called included includes contains contained provides provided produced received joined returned signed visited
    served remained stood fell rose spoke brought thought knew told sat lay ate drank heard felt lives works makes holds
    takes gives means refers allows requires remains uses covers lies stands plays ends cried carried married followed
    looked turned asked answered reached killed caught threw drew broke chose wore sold paid taught
"""
BEFORE_NAMES = _words(
    f"the a an {_VERBS} in at near by to from with for of on into as than between against over through"
)
_STARTING = """
    In On At As For From By To When While After Before Since If Although Though Once Because During Under With Among
    Through Despite Unlike Until Upon Within Without Along Between According Due Given Like Over Of
"""
_NO_SUBJECTS = f"""
    {_STARTING} He She It They We I You This That These Those There Here But And So Then However Some Many Most Other
    Another One Both All Each Such What Who Which Where How Not No Now Thus Hence Only Even Just Still Yet Or Nor Never
    More Few Several None Its His Her Their Our My
"""
_OPENINGS = """
    However Moreover Furthermore Therefore Thus Also Finally Similarly Additionally Meanwhile Nevertheless Indeed
    Consequently Then So And But
"""
_DATES = """
    January February March April May June July August September October November December Monday Tuesday Wednesday
    Thursday Friday Saturday Sunday I Table Figure Fig
"""

_NAME = r"[A-Z][\w'’-]*(?: (?:of |the |de |van |von )?[A-Z][\w'’-]*){0,4}"
_AFTER = _any("""
    in on at to from with for by as and or is was were are has had who which that during after before when where while
    because until into but
""")
_STOP = rf"(?=$|,| (?!who\b|which\b|that\b){_AFTER}\b)"
NAMED = re.compile(rf"(?<![\w.'’-]){_NAME}(?![\w-]){_STOP}")
_BEFORE = _any("""
    in on into onto through with by from about under over across against upon at for of between among within during
    around along behind near toward towards without beyond above below
""")
_DETERMINER = _any(" ".join(sorted(DETERMINERS)))
_NO_THING = _any("""
    to after before than be been being do does did not no it them him her me us you he she they we himself herself
    itself themselves each other one this that these those there here so too well also again more most least first last
    time times day week month year night morning evening little lot bit
""")
_NEVER = rf"(?!(?:{_NO_THING}|{_BEFORE}|{_AFTER}|{_DETERMINER})\b)"
_WORD = rf"{_NEVER}(?:[A-Za-z]|\d+(?:st|nd|rd|th)\b)[\w'’-]*(?<!ly)"
THING = re.compile(rf"\b{_BEFORE} ({_DETERMINER} [a-z-]+(?: [a-z-]+)?){_STOP}")
_NOT_ACTING = _any("all both half such quite only even just if though than be been being rather whether what no")
_ACTING = rf"{_NEVER}(?!(?:{_NOT_ACTING}|{_any(_TURNED)})\b)[a-z]{{3,}}"
_TO_ACT = rf"{_any('to can could will would may might must should')} (?!{_any('be have')}\b){_NEVER}[a-z]{{2,}}"
LAST = re.compile(
    rf"\b(?:(?:{_BEFORE}|{_TO_ACT}) |(?:{_BEFORE}|to|as|{_ACTING}) (?={_DETERMINER} ))"
    rf"((?:{_DETERMINER} )?(?:{_WORD} ){{0,2}}{_WORD})$"
)
ASKS = re.compile(rf"\b{_any('what who whom whose when where which how why')}\b", re.IGNORECASE)
YEAR = re.compile(r"\b[Ii]n (1\d{3}|20[0-2]\d)\b(?![,.]?\d)")
_NUMERAL = _any("two three four five six seven eight nine ten twelve twenty")
COUNT = re.compile(
    rf"(?<![\w.,$£€-])(\d[\d,.]*\d|\d|{_NUMERAL}) "
    rf"((?:{_any('million billion thousand hundred')} )?(?:(?!{_AFTER}\b)[a-z]+ )?(?!{_AFTER}\b)[a-z]{{2,}}s)\b"
)
PERCENT = re.compile(r"(?<!^)(?<![\w.,-])(\d[\d.]*(?:%| percent| per cent))(?!\w)")
PLACE = re.compile(rf"\b(?:in|at|near) ((?:the )?{_NAME})(?![\w-])")
BY = re.compile(
    rf"\b\w+(?:ed|en|wn|lt|de|un|ought) by ((?:the |a |an )?(?:{_NAME}|[a-z]+(?: [a-z]+)?))"
    rf"(?=[,.;]| {_any('in at on and from to with for during as when after before')}\b|$)"
)
TURNING = re.compile(rf"^((?:[^\s,;:()]+ ){{0,6}}[^\s,;:()]+) ({_any(_TURNED)}) (.+)$")
SUBJECT = re.compile(
    rf"^((?:(?:The|A|An|His|Her|Their|Its) )?(?:{_NAME}|(?<=\w )[a-z-]+(?: [a-z-]+){{0,2}}?)) ({_any(_VERBS)}\b.+)$"
)
DEFINED = re.compile(
    rf"^((?:an?|the|one of) .+?)(?=[,;]| {_any('that which who whose where when in and for with by on at from')}\b|$)"
)
STARTING = re.compile(rf"{_any(_STARTING)}\b")
NO_SUBJECT = re.compile(rf"{_any(_NO_SUBJECTS)}\b")
OPENING = re.compile(rf"(?:{_any(_OPENINGS)}|In addition|In fact|For example|For instance),? ")
DATE = re.compile(rf"{_any(_DATES)}\b")
CLAUSE = re.compile(rf"\b{_any('that which who whom whose where when if because while said and')}\b")
_UNFIT = re.compile(r"[\[\]:;?!\n=`]|\.\w|\. | [,']|,[\"”]|, [\"“]")  # lists, abbreviations, texts in tokens, speech
_SHORTENED = re.compile(r"(?:^|[ .])(?:[A-Z][a-z]{0,2}|etc|vs|approx|cf|al|no|vol|ca)$")


def balanced(text: str) -> bool:
    """Whether each bracket and each quotation that begins in a text ends there."""
    return text.count("(") == text.count(")") and text.count("“") == text.count("”") and text.count('"') % 2 == 0


def fit(sentence: str) -> bool:
    """Whether a sentence with its full stop is one statement, whole."""
    return balanced(sentence) and not _UNFIT.search(sentence) and not _SHORTENED.search(sentence[:-1])
