"""Words of the sketch author: products, settings, briefs, events. Data and random choice only; knows no
agent.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from random import Random

from models.sketch.training.world.captions import (
    COLOUR_WORDS,
    MATERIAL_WORDS,
    SETTING_WORDS,
    SHAPE_WORDS,
    TIME_WORDS,
)


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


USUAL_COLOUR = {
    "bottle": "blue", "can": "red", "mug": "white", "box": "orange", "jar": "pink", "shoe": "green",
    "watch": "black", "lamp": "yellow",
}  # fmt: skip
"""What the author gives a product whose colour the brief leaves open, so that every scene draws the same."""
OTHER_PRODUCTS = words(
    "headphones|backpack|perfume|bicycle|guitar|teapot|candle|umbrella|sofa|chair|laptop|phone|camera|speaker|"
    "blender|toaster|kettle|pan|knife|helmet|scooter|skateboard|tent|jacket|scarf|hat|sunglasses|necklace|ring|"
    "notebook|pen|soap|shampoo|toothbrush|lipstick|sunscreen|chocolate|coffee|tea|juice|yoghurt|cereal|cookies|"
    "cheese|honey|olive oil|pasta|pizza|burger|ice cream|dog food|cat toy|vacuum cleaner|washing powder|drill|"
    "garden hose|plant pot|pillow|blanket|mattress|rug|clock|mirror|desk|bookshelf|board game|puzzle|teddy bear|"
    "stroller|car|van|tyre|electric car|motor oil|sun hat|yoga mat|dumbbell|football|tennis racket|surfboard|"
    "fishing rod|tumbler|thermos|lunch box|phone case|charger|keyboard|tablet|e-reader|smart ring|drone|"
    "projector|heater|fan|air purifier"
)
OTHER_LOOKS = words(
    "wooden|leather|glass|ceramic|bamboo|cotton|silver|golden|brown|grey|beige|striped|slim|compact|foldable|organic|"
    "handmade|lightweight|insulated|wireless|electric|recycled|vintage|modern|smart|tiny|large"
)
SYLLABLES = words("ve|lo|ra|zo|rbi|ka|mi|no|ta|lu|pex|dor|fy|ga|ne|qui|sol|bri|um|ix|ar|en|to|pa|ri|shi|wo")
OTHER_SETTINGS = words(
    "in a gym|on a rooftop at dawn|in a small cafe|by a mountain lake|in an office|at a bus stop|in a library|"
    "on a train|in a garden|at a market|in a bathroom|in a bedroom|on a bridge|in a workshop|at a campsite|on a boat|"
    "in a park|at a swimming pool|in a bakery|in a vineyard|on a football field|at an airport|in a barn|by a fireplace|"
    "under a waterfall|in a greenhouse|on a balcony|in a museum|in a tunnel|on a farm"
)
AUDIENCES = words(
    "hikers|busy parents|students|commuters|athletes|travellers|young people|families|office workers|dog owners|"
    "cooks|gamers|nature lovers|night owls|early risers"
)
BENEFITS = words(
    "keeps its promise all day|is made to last|is easy to clean|fits in every bag|saves time every morning|"
    "looks good anywhere|is light as a feather|feels good in the hand|works right away|is kind to the planet|"
    "keeps drinks cold all day|keeps tea hot|holds a litre|holds everything together|needs no battery|folds flat|"
    "comes in one size|makes every day better|never lets you down|is simple and honest|starts at twenty euros"
)
MOODS = words("calm|fresh|bold|warm|playful|elegant|quiet|bright|cosy|energetic|minimal|dreamy")
TIMES = words("at dawn|in the morning|at noon|in the afternoon|in the evening|at night")
BRANDS = words("Nordal|Kivo|Brightside|Halden|Ostra|Lumen|Peak|Mori|Aqualine|Fernweh|Solis|Tamarin")
PEOPLE = (
    ("young woman", "smiling young woman in a blue jacket"), ("hiker", "bearded hiker in a red coat"),
    ("runner", "runner in white clothes"), ("old man", "old man with a grey hat"), ("chef", "chef in a white apron"),
    ("girl", "girl with short dark hair"), ("student", "student with round glasses"),
    ("surfer", "surfer with wet hair"),
)  # fmt: skip

Phrases = tuple[str, ...]
EVENTS: dict[str, Phrases] = {
    "Attention": (
        "The {p} drops into the frame and lands upright", "A flash of light reveals the {p}",
        "The {p} appears out of the dark", "Everything stops when the {p} rolls into view",
        "The {p} catches the first light", "A shadow moves away and the {p} stands there",
        "The {p} rises slowly into the picture", "The view opens on the {p}",
    ),
    "Interest": (
        "The {p} turns and shows its shape", "Light runs along the edge of the {p}",
        "The {p} stands still while the world moves around it", "A close look shows how the {p} is made",
        "The {p} is lifted and set down again", "The camera discovers every detail of the {p}",
        "The {p} passes its first test", "Small drops run down the side of the {p}",
    ),
    "Desire": (
        "The {p} glows as if it were made for this place", "The day gets better around the {p}",
        "The {p} is the only thing that matters", "Everyone wants to hold the {p}",
        "The {p} shines and stays in view", "A smile is reflected in the {p}",
        "The {p} is where it belongs", "The {p} makes the moment last",
    ),
    "Problem": (
        "The day goes wrong without the {p}", "An empty place waits where the {p} should be",
        "Something is missing until the {p} shows up", "A long day begins far away from the {p}",
        "Nothing works and the {p} is still out of sight", "Dust settles where the {p} could stand",
    ),
    "Agitate": (
        "Time runs out and the {p} is still missing", "It gets worse and only the {p} could help",
        "Every other thing breaks, but not the {p}", "The wind blows everything over except the {p}",
        "People look around for the {p}", "The noise grows while the {p} waits",
    ),
    "Solve": (
        "The {p} arrives and all is well", "The {p} takes its place and the trouble ends",
        "With the {p} it all works at once", "A hand reaches for the {p} and relaxes",
        "The {p} does in a second what took an hour", "The {p} brings calm back",
    ),
    "Before": (
        "A dull day waits for the {p}", "Everything is grey except the {p}",
        "The {p} is still packed away and the day drags on", "Nobody has found the {p} yet",
        "The morning is slow until the {p} comes", "The place looks empty around the {p}",
    ),
    "After": (
        "Now the {p} is there and the colours return", "The same place is bright with the {p} in it",
        "The {p} stands in full light", "Friends gather around the {p}",
        "The day runs smoothly with the {p}", "The {p} turns an empty place into a good one",
    ),
    "Bridge": (
        "The {p} is all that it took", "One turn of the {p} shows the way", "The {p} links then and now",
        "From one picture to the next the {p} stays the same", "The {p} shows how simple it is",
        "Step by step the {p} changes the day",
    ),
    "Action": (
        "The {p} fills the frame", "The {p} stands in the centre", "The {p} comes to rest",
        "The view closes in on the {p}", "The {p} waits for you", "One last look at the {p}",
    ),
}  # fmt: skip
WITH_PERSON: Phrases = (
    "The {c} reaches for the {p}", "The {c} holds the {p} up to the light", "The {c} smiles at the {p}",
    "The {c} puts the {p} down", "The {c} finds the {p}", "The {c} walks past with the {p}",
)  # fmt: skip
CALLS: Phrases = (
    "Get the {p} today", "Try the {p} now", "Order your {p} today", "Shop the {p} now", "Discover the {p}",
    "Get yours today", "Buy the {p} this week", "Choose the {p}", "Find your {p} today", "Grab your {p} now",
)  # fmt: skip
TITLES: Phrases = (
    "A day with the {p}", "The {p}", "Made for you: the {p}", "Meet the {p}", "Ready: the {p}", "The {p} stays",
    "One {p}, one moment", "Always the {p}", "Here comes the {p}", "The {p} story",
)  # fmt: skip
DETAILS: Phrases = (
    "", "", "", "in sharp focus", "in a slow and steady shot", "with soft shadows", "in a clear close view",
    "with nothing else in the way", "right in the centre", "as the light changes",
)  # fmt: skip
CAMERAS = {
    "Attention": ("push_in", "static", "tilt_up"), "Interest": ("orbit", "pan_right", "pan_left"),
    "Desire": ("push_in", "orbit", "tilt_down"), "Problem": ("static", "pan_left", "pull_back"),
    "Agitate": ("pan_right", "push_in", "tilt_down"), "Solve": ("push_in", "orbit", "static"),
    "Before": ("static", "pan_right", "pull_back"), "After": ("orbit", "tilt_up", "push_in"),
    "Bridge": ("pan_right", "push_in", "static"), "Action": ("static", "pull_back", "push_in"),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """What one ad is about, as the author knows it."""

    product: str
    look: str
    places: tuple[str, ...]
    """Where it plays, in order; most ads stay in one place."""
    light: str
    stated: bool
    """Whether the brief says the places."""


def a(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def held_out(product: str, setting: str) -> bool:
    """Whether a product and setting never meet in training (one pair in ten)."""
    digest = hashlib.sha256(f"{product}|{setting}".encode()).digest()
    return digest[0] < 26


def made_up_word(rng: Random) -> str:
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3)))


def world_product(rng: Random) -> tuple[str, str]:
    """Name and look of a product that the image models can draw."""
    shape = rng.choice(sorted(SHAPE_WORDS))
    noun = rng.choice(SHAPE_WORDS[shape])
    colour = rng.choice(COLOUR_WORDS[rng.choice(sorted(COLOUR_WORDS))]) if rng.random() < 0.6 else ""
    material = rng.choice(MATERIAL_WORDS[rng.choice(sorted(MATERIAL_WORDS))]) if rng.random() < 0.5 else ""
    words = [word for word in (colour, material) if word]
    rng.shuffle(words)
    name = " ".join([*words, noun])
    return name, name if colour else f"{USUAL_COLOUR[shape]} {name}"


def product(rng: Random, hard: bool) -> tuple[str, str]:
    """Any product: of the world, of everyday life, or under a name that nobody has heard, mostly so when `hard`."""
    kind = 1.0 if rng.random() < (0.7 if hard else 0.2) else 0.8 * rng.random()
    if kind < 0.55:
        return world_product(rng)
    noun = rng.choice(OTHER_PRODUCTS)
    if kind < 0.8:
        looks = [rng.choice(OTHER_LOOKS)] if rng.random() < 0.6 else []
        name = " ".join([*looks, noun])
    else:
        shape = rng.choice(SHAPE_WORDS[rng.choice(sorted(SHAPE_WORDS))])
        word = made_up_word(rng)
        name = rng.choice((f"{word} {noun}", f"{word} {shape}", f"{word.capitalize()} {noun}", word))
    return name, name


def place(rng: Random) -> str:
    """A place of the world or another one, in a third of the cases with its other article."""
    words = rng.choice(SETTING_WORDS[rng.choice(sorted(SETTING_WORDS))] if rng.random() < 0.7 else OTHER_SETTINGS)
    if rng.random() < 0.67:
        return words
    if " the " in words:
        return words.replace(" the ", " a ", 1)
    return re.sub(r" (?:an?) ", " the ", words, count=1)


def places(rng: Random, hard: bool) -> tuple[str, ...]:
    """One place, or a way through two or three, some with the time of day; mostly three when `hard`."""
    count = rng.choices((1, 2, 3), (0.2, 0.2, 0.6) if hard else (0.6, 0.12, 0.28))[0]
    found: list[str] = []
    while len(found) < count:
        one = place(rng)
        if one.split()[-1] not in " ".join(found):
            found.append(one)
    if rng.random() < (0.5 if count > 1 else 0.1):
        first = rng.randrange(len(TIMES) - count + 1)
        found = [f"{one} {TIMES[first + index]}" for index, one in enumerate(found)]
    return tuple(found)


def subject(rng: Random, held: bool = False, hard: bool = False) -> Subject:
    """A product in a place, of those kept for the evaluation when `held`; `hard` as in `product` and `places`."""
    while True:
        (name, look), where = product(rng, hard), places(rng, hard)
        if held_out(name, where[0]) == held:
            light = rng.choice(TIME_WORDS[rng.choice(sorted(TIME_WORDS))]) if rng.random() < 0.35 else ""
            stated = len(where) > 1 or rng.random() < 0.85
            return Subject(product=name, look=look, places=where, light=light, stated=stated)


def _way(where: tuple[str, ...], rng: Random) -> str:
    """Places as a brief names them."""
    if len(where) == 1:
        return where[0]
    last = rng.choice((", ", " and ", ", then "))
    return f"{', '.join(where[:-1])}{last}{where[-1]}"


def brief_text(s: Subject, rng: Random) -> str:
    """The brief as a user may write it."""
    where = f" {_way(s.places, rng)}" if s.stated else ""
    light = f", {s.light}" if s.light and s.stated else ""
    audience, benefit, mood = rng.choice(AUDIENCES), rng.choice(BENEFITS), rng.choice(MOODS)
    the = f"the {s.product}"
    forms = (
        f"an ad for {a(s.product)}{where}{light}",
        f"{a(s.product)}{where}{light}, an ad for {audience}",
        f"Create {a(mood)} ad for {the}{where}{light}. It {benefit}.",
        f"Make a {rng.choice((9, 10, 15, 20, 30, 60))} second video ad for our {s.product}{where}{light}.",
        f"We sell {a(s.product)} that {benefit}. Show it{where or ' to ' + audience}{light}.",
        f"Promote our new {s.product} to {audience}{', filmed' + where if where else ''}{light}. The mood is {mood}.",
        f"{the} {benefit}. {mood} pictures{where}{light}, for {audience}",
        f"A short {mood} spot{where}{light} for {the}, which {benefit}. People should want to have it at once.",
        f"An ad for {a(s.product)} called {rng.choice(BRANDS)}. It {benefit}{':' + where if where else ''}{light}.",
        f"Ad for {a(s.product)}.{f' Setting:{where}.' if where else ''}{f' {s.light}.' if light else ''} {mood}.",
    )
    text = rng.choice(forms)
    if rng.random() < 0.15:
        text = f"{text.rstrip('.')}. {rng.choice(('No people', 'Keep it simple', 'Use bright colours'))}."
    return text[0].upper() + text[1:] if rng.random() < 0.6 else text
