"""Words as the published caption scores cut them: the Penn Treebank's, in lower case, without punctuation.

The scores of COCO's caption challenge, and of those who compare themselves with it, are counted on the words of
Stanford's PTBTokenizer (CoreNLP 3.4.1, `-preserveLines -lowerCase`), less a list of punctuation (pycocoevalcap's
`ptbtokenizer.py`). `words` gives these words without Java, as far as captions need them:

    it's a dog's, don't, cannot     it 's a dog 's, do n't, can not        also gonna, 'tis, y'all and their like
    t-shirt, and/or, 3.5, 1,000     stay whole; a dash with spaces around it goes
    (left) [right]                  -lrb- left -rrb- -lsb- right -rsb-: they stay: that list has them in capitals
    $5 £5 5€ 5¢ 10%                 $ 5, # 5, 5 $, 5 cents, 10 %
    Mr. U.S. a.m. 5:30pm            mr. u.s. a.m. 5:30 pm
    . , : ; ! ? " ' `` -- ...       go; ?! and !! stay, as two in a row are no punctuation of that list

Where this departs: the tokeniser of the original reads all captions as one stream, so that a single letter with a full
stop at the end of a caption ("vitamin C.") is cut by how the next caption begins; here it is the end of a sentence.
Words with a space inside ("3 1/2") are two here, as BLEU and CIDEr of the same package take them.

What this file is not: it knows no vocabulary and no configuration (`tokens.py`).
"""

from __future__ import annotations

import re

_L = r"(?:[^\W\d_²³¹¼½¾№]|[\u0300-\u036f\u0900-\u0dff])"  # a letter, or a mark on one
_A = rf"(?:{_L}|\d)"
_END = rf"(?!{_A})"
_SUFFIX = r"['’](?:[sSmMdD]|[lL][lL]|[vV][eE]|[rR][eE])" + _END
_NOT = r"[nN]['’][tT]" + _END
_ABBREVIATIONS = (
    "mr|ms|mrs|dr|st|ave|rd|blvd|ft|mt|jr|sr|sen|rep|gov|gen|col|lt|sgt|capt|maj|prof|rev|hon|pres|adm|cmdr|messrs|mlle"
    "|mme|esq|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|tues|wed|thu|thurs|fri|inc|ltd|co|cos|bros|corp"
    "|etc|vs|al|cf|bldg|ste|ct|dept|univ|assn|sq|ala|ariz|calif|colo|conn|fla|ga|ind|kan|ky|md|mich|minn|mo|mont"
    "|neb|nev|okla|penn|tenn|vt|va|wis|wyo|ph\\.d"
)
_STARTERS = "A|An|The|They|He|She|It|We|There|This|That|These|Those|You|In|On|At|But|And"

_SHORT = frozenset(_ABBREVIATIONS.split("|")) | {"ill", "mass", "pa", "wash", "ore", "tex"}

_CUTS = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"\b(can)(not)\b", r"\1 \2"),
        (r"\b(gon|wan)(na)\b", r"\1 \2"),
        (r"\b(got)(ta)\b", r"\1 \2"),
        (r"\b(lem|gim)(me)\b", r"\1 \2"),
        (r"(?<!\w)('t)(is|was)(?!\w)", r"\1 \2"),
        (r"(?<!\w)('t)(is)(n't)(?!\w)", r"\1 \2 \3"),
        (rf"({_L})({_NOT})", r"\1 \2"),
        (rf"({_A}|\.)({_SUFFIX})", r"\1 \2"),
        (rf"({_L})({_SUFFIX})", r"\1 \2"),  # what stood behind another: I'd've
        (rf"\b(y['’])({_L})", r"\1 \2"),
        (rf"({_A})(['’]n['’])({_A})", r"\1 \2 \3"),
        (rf"({_A})(['’]n){_END}", r"\1 \2"),
    )
)
"""Where words are cut in two, before they are looked for."""

_WORD = re.compile(
    "|".join(
        (
            r"</?[A-Za-z][^<>]*>",
            r"https?://[^\s\"<>|()]*[^\s\"<>|.!?(){},\-]",
            r"(?:[\w\-]+\.)+(?:com|net|org|edu)(?:/[^\s\"<>|.,!?(){}]+)?(?!\w)",
            r"[A-Za-z0-9][\w.\-]*@[\w\-]+(?:\.[\w\-]+)*",
            rf"[@#]{_L}\w*",
            r"[<>]?[:;=]['\-]?[()](?!\d)|:-?[DPp]\b|\^_\^",
            r"\(\d{3}\)(?=\s?\d{3}-\d{4})",
            # what begins with an apostrophe, and what holds one
            rf"{_NOT}|{_SUFFIX}|['’][nN]['’]?(?!\w)|['’](?i:em|cause|till?)(?!\w)",
            r"(?<!\w)['’]\d\ds?(?!\w)|'[tT](?= (?i:is|was))",
            r"(?i:c['’]mon|li['’]l|s['’]mores|o['’]clock|nor['’]easter|ol['’](?!\w)|y['’](?=\s))",
            rf"[A-HJ-XZno]['’]{_L}{{2,}}|[lLdDjJ]['’](?={_L}){_L}+|{_L}*[aeiouyAEIOUY]['’][aeiouA-Z]{_L}*",
            # money, companies, languages
            r"[A-Z]{1,2}\$|[A-Z]+(?:&[A-Z]+)+s?(?![a-z])|(?<!\w)[A-Za-z](?:\+\+|#)(?!\w)",
            # numbers and words with - and / inside
            rf"(?:{_A}+|{_L}(?:\.{_L})+\.)(?:\.\d+)?(?:[\-_]{_A}+)*(?:/{_A}+(?:[\-_]{_A}+)*)+",
            rf"(?:{_L}\.)+{_L}?(?:-{_A}+)+|{_A}+(?:-{_A}+)*-(?:{_L}\.){{2,}}",
            rf"\d+(?:[.,]\d+)+(?:-{_A}+)+|{_A}+(?:[\-_]{_A}+)+",
            r"[\-+]?\d*(?:[.,:]\d+)+|[\-+]\d+(?!\w)",
            # words with full stops
            rf"(?i:{_ABBREVIATIONS})\.(?!\w)|(?:Ill|Mass|Pa|Wash|Ore|Tex)\.(?!\w)|(?i:nos?|pp|fig)\.(?=\s*\d)",
            rf"(?:{_L}\.){{2,}}{_END}|{_L}\.(?!\w|\s*$|\s+(?:{_STARTERS})\b)",
            rf"{_A}+(?:[.]{_A}+)+|{_L}+(?:[!?]{_L}+)+",
            # words, and what is left, by itself or in rows
            rf"{_A}+|[?!]{{2,}}|-+|\*+|#+|@+|_+|<<|>>|\S",
        )
    )
)

_DROPPED = frozenset(".?!,:;-…—–`'\"“”‘’«»‹›「」") | {"--", "---", "----"}
_WRITTEN = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "£": "#",
    "€": "$",
    "¢": "cents",
    "½": "1/2",
    "¼": "1/4",
    "¾": "3/4",
}
_ENTITIES = {"&amp;": "&", "&nbsp;": " ", "&lt;": "< ", "&gt;": ">", "&quot;": '"', "&apos;": "'"}
_SPACE = re.compile(r"[\u200b\x00-\x1f\x7f-\x9f]")
_NOTHING = re.compile(r"[\u00ad\U00010000-\U0010ffff]")
_ENTITY = re.compile("|".join(_ENTITIES))
_QUOTE = re.compile(r"['’]")


_PLAIN = re.compile(r"[A-Za-z]+(?:(?: ?,)? [A-Za-z]+)*(?: ?\.)?")
_STOPS = str.maketrans("", "", ",.")
_NOT_PLAIN = frozenset({"cannot", "gonna", "wanna", "gotta", "lemme", "gimme"})


def words(text: str) -> list[str]:
    """The words of a text, in lower case; perhaps none."""
    if _PLAIN.fullmatch(text):  # as most captions are: the same, sooner
        found = text.lower().translate(_STOPS).split()
        if _NOT_PLAIN.isdisjoint(found) and found[-1] not in _SHORT:
            return found
    text = _NOTHING.sub("", _SPACE.sub(" ", _ENTITY.sub(lambda entity: _ENTITIES[entity.group()], text)))
    for pattern, replacement in _CUTS:
        text = pattern.sub(replacement, text)
    return [_written(word) for word in _WORD.findall(text) if word not in _DROPPED]


def _written(word: str) -> str:
    if word in _WRITTEN:
        return _WRITTEN[word]
    if re.fullmatch(rf"{_NOT}|{_SUFFIX}", word):
        word = _QUOTE.sub("'", word)
    if word[-1] in "()" or word[0] == "(":
        word = word.replace("(", "-lrb-").replace(")", "-rrb-")
        word = ":" + word[1:] if word[0] in ":" else word
    return word.lower()
