"""The language of a text, told by its script and its commonest words: enough to see that an ad is in another one."""

from __future__ import annotations

import re

from pipelines.reading.vocabulary import word_set

_COMMON: dict[str, frozenset[str]] = {
    "en": word_set("the a an and of to in is it for on with that this our your we ad at be are from by as now"),
    "de": word_set(
        "der die das und ein eine einen einer für mit auf im ist wir unser unsere den dem von zu nicht sie es am"
    ),
    "fr": word_set(
        "le la les un une des et de du pour avec sur dans est notre nos vous nous il elle au aux ce cette en que"
    ),
    "es": word_set(
        "el la los las un una y de del para con en es nuestro nuestra por que se su al lo como más este esta"
    ),
    "it": word_set("il lo la gli le un una e di del della per con su è nostro nostra che si al nel sono questo questa"),
    "pt": word_set("o a os as um uma e de do da para com em é nosso nossa que se ao no na por mais este esta"),
    "nl": word_set("de het een en van voor met op in is onze ons dat die zijn te niet wij bij aan"),
}
_SCRIPTS = (
    ("ja", r"[\u3040-\u30ff]"),
    ("zh", r"[\u4e00-\u9fff]"),
    ("ko", r"[\uac00-\ud7af]"),
    ("ru", r"[\u0400-\u04ff]"),
    ("ar", r"[\u0600-\u06ff]"),
    ("he", r"[\u0590-\u05ff]"),
    ("el", r"[\u0370-\u03ff]"),
    ("hi", r"[\u0900-\u097f]"),
    ("th", r"[\u0e00-\u0e7f]"),
)
NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese",
    "nl": "Dutch", "ja": "Japanese", "zh": "Chinese", "ko": "Korean", "ru": "Russian", "ar": "Arabic",
    "he": "Hebrew", "el": "Greek", "hi": "Hindi", "th": "Thai",
}  # fmt: skip


def language_of(text: str) -> str:
    """ISO 639-1 code; English where nothing speaks for another language."""
    letters = len(re.findall(r"[^\W\d_]", text)) or 1
    for code, script in _SCRIPTS:
        if len(re.findall(script, text)) > 0.25 * letters:
            return code
    words = re.findall(r"[^\W\d_]+", text.lower())
    counts = {code: sum(word in common for word in words) for code, common in _COMMON.items()}
    best = max(counts, key=lambda code: (counts[code], code == "en"))
    return best if counts[best] > counts["en"] else "en"
