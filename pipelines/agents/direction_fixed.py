"""What an owner cannot change any more once an ad is ordered, and what to do instead: length, shape, number of scenes,
models and the like. A wish for one of them is answered, and nothing else is done in its place.
"""

from __future__ import annotations

import re

_I = re.IGNORECASE
_COUNT = (
    r"\d+(?:[.,]\d+)?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|forty(?:[- ]five)?|"
    r"fifty|sixty|ninety"
)
_AD = r"(?:it|this|that|(?:the |my |our )?(?:ad|advert|video|film|clip|spot|movie|story|whole thing))"
_SHAPE = r"(?:portrait|landscape|vertical|horizontal|square|wide-?screen|upright)"
_LANGUAGE = (
    r"(?:german|french|spanish|italian|dutch|portuguese|chinese|japanese|korean|russian|polish|arabic|turkish|swedish|"
    r"hindi|english)"
)

_END = r"\s*(?:[,.;|!?]|$|please|instead)"

FIXED: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            rf"\b(?:(?:{_COUNT})[ -]*(?:seconds?|secs?|s|minutes?|mins?|hours?)|half an? minute|an? (?:minute|hour))\b|"
            r"\b(?:double|halve|triple|twice|half)\b[^.;|]*\b(?:length|duration|long|time)\b|"
            r"\b\d+\s?(?:x|times)\s(?:as long|longer|shorter)\b|"
            rf"\b(?:duration|running time|run ?time|length of {_AD})\b",
            _I,
        ),
        "The length of an ad is fixed when it is ordered, so it stays as it is: start a new one with another duration.",
    ),
    (
        re.compile(
            r"\b(?:21|16|9|5|4|3|2|1)\s?[:x]\s?(?:21|16|9|5|4|3|2|1)\b|\baspect[- ]ratio\b|"
            rf"\b{_SHAPE} (?:format|mode|orientation|video|ad|version|screen|shape)\b|"
            rf"\b(?:make|turn|want|need|have) {_AD} (?:be |into |in |to )?(?:an? )?{_SHAPE}{_END}|"
            rf"\b{_AD} (?:should |must |has to |needs to |could |shall )?be {_SHAPE}{_END}",
            _I,
        ),
        "The shape of an ad is fixed when it is ordered, so it stays as it is: start a new one with another "
        "aspect_ratio.",
    ),
    (
        re.compile(
            rf"\b(?:add|insert|append|include)\s+(?:(?:an?|another|{_COUNT}|some|more|extra|new|additional)\s+)*scenes?\b|"
            rf"\b(?:more|fewer|less) scenes\b|\b(?:only|just|exactly)\s+(?:{_COUNT})\s+scenes?{_END}|"
            rf"\bmake {_AD}(?: into)? (?:{_COUNT}) scenes?\b",
            _I,
        ),
        "The number of scenes is fixed when an ad is ordered: start a new one with another num_scenes. To leave some "
        "out, approve the storyboard with the others selected.",
    ),
    (
        re.compile(
            r"\b(?:4k|8k|(?:480|720|1080|1440|2160)p|u?hd|resolution|\d+ ?fps|frames? per second|frame ?rate)\b", _I
        ),
        "Size and frame rate are those of this server's models: they cannot be changed here.",
    ),
    (
        re.compile(
            r"\b(?:another|different|other|better|larger|bigger|new) (?:(?:video|image|chat|language|ai) )?model\b|"
            r"\b(?:use|try|with|by|switch to)\s+(?:kling|sora|veo|runway|flux|midjourney|dall-?e|gpt)\b",
            _I,
        ),
        "The models are those of this server: they cannot be changed here.",
    ),
    (
        re.compile(
            r"\b(?:another|different|new|other|random) seed\b|\bseed (?:number |value |to )?\d+|"
            r"\b(?:change|set) the seed\b",
            _I,
        ),
        "The seed is fixed when an ad is ordered: start a new one with another seed. 'Redo scene 2' makes another "
        "take.",
    ),
    (
        re.compile(r"\bframework\b", _I),
        "The framework is fixed when an ad is ordered: start a new one with AIDA, PAS or BAB.",
    ),
    (
        re.compile(r"\b(?:the|its|another|new) title\b|^\W*title\b", _I),
        "The title is fixed when an ad is ordered: start a new one with another title.",
    ),
    (
        re.compile(
            r"\b(?:change|set|correct|replace|rename|use|call)\b[^.;|]{0,20}\bbrand\b|"
            r"\b(?:another|different) brand\b|\bbrand(?: name)? (?:should|must|has to|is)\b|^\W*brand\b",
            _I,
        ),
        "The brand is what the brief says: correct it with PATCH /api/v1/generations/{id} and facts.brand.",
    ),
    (
        re.compile(rf"\btranslat\w+\b|\b(?:in|into|to) {_LANGUAGE}(?:{_END}|\s+language)|\b{_LANGUAGE} language\b", _I),
        "An ad speaks the language of its brief: start a new one with a brief in the other language.",
    ),
)
"""What is fixed, and the answer to a wish for it."""
_LEFT_OUT = re.compile(
    r"^\W*(?:please |and |now |just )*"
    r"(?:remove|delete|drop|cut(?: out)?|take out|leave out|skip|omit|get rid of|lose|erase)\s+"
    r"(?:the )?\W*(?:please|completely|entirely|altogether)?\W*$",
    _I,
)
"""A wish to be rid of a scene, with the scene taken out of it."""


def fixed_when_ordered(text: str, names_scene: bool) -> str | None:
    """Why the wish `text` cannot be followed because it was fixed when the ad was ordered, and what to do; else None.

    `names_scene`: whether it named scenes, which are not in the text any more.
    """
    if names_scene and _LEFT_OUT.fullmatch(text):
        return (
            "The number of scenes is fixed when an ad is ordered. To leave a scene out, approve the storyboard with "
            "the others selected: they fill the whole ad."
        )
    for pattern, answer in FIXED:
        if pattern.search(text):
            return answer
    return None
