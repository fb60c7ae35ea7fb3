"""The briefs of `benchmarks.agents`: in-domain ones with what they say, and real ones that no toy world can draw."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from pipelines.brief import Framework


@dataclass(frozen=True)
class Known:
    """A brief, and what an ad of it must say."""

    prompt: str
    noun: str
    colour: str | None
    brand: str | None
    claim: str | None
    offer: str | None
    """In the brief's own words, as the ad must repeat it."""
    places: tuple[tuple[str, str | None], ...]
    """The place's own word and its time of day."""
    framework: Framework
    duration: int


NOUNS = (
    "water bottle", "flask", "tumbler", "coffee mug", "cup", "soda can", "gift box", "cream jar", "running shoes",
    "sneakers", "wristwatch", "watch", "desk lamp", "table lamp", "bottle", "mug",
)  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white", "black", None)
MATERIALS = ("steel", "matte", "glossy", None, None, None)
BRANDS = ("Dew", "Kivo", "Nordal", "Brightside", "Halden", "Lumen", "Fernweh", "Tamarin", None, None)
CLAIMS = (
    "keeps its promise all day", "is made to last", "fits in every bag", "feels good in the hand",
    "never lets you down", "is kind to the planet", "saves time every morning", "works right away", None,
)  # fmt: skip
PLURAL_CLAIMS = (
    "are made to last",
    "are light as a feather",
    "feel good from the first step",
    "never let you down",
    None,
)
OFFERS = ("20% off this week", "only $19.99", "buy one get one free", "15% off until Sunday", "only €24.90", None, None)
PLACES = (
    ("in the kitchen", "kitchen"), ("on the kitchen counter", "kitchen counter"), ("on the beach", "beach"),
    ("at the seaside", "seaside"), ("in the forest", "forest"), ("in the woods", "woods"), ("in the desert", "desert"),
    ("in the snow", "snow"), ("on a snowy mountain", "snowy mountain"), ("in the city", "city"),
    ("on a wooden table", "wooden table"), ("on a desk", "desk"), ("in a studio", "studio"), ("by the shore", "shore"),
)  # fmt: skip
TIMES = ("in the morning", "at noon", "in the evening", "at night")


def in_domain(count: int, seed: int) -> list[Known]:
    """`count` briefs of one to four places in many forms."""
    rng = Random(seed)  # noqa: S311
    return [_known(rng, 1 + index % 4) for index in range(count)]


def _known(rng: Random, places: int) -> Known:
    noun = rng.choice(NOUNS)
    plural = noun.endswith("s")
    colour, material = rng.choice(COLOURS), rng.choice(MATERIALS)
    name = " ".join(word for word in (colour, material, noun) if word)
    brand, offer = rng.choice(BRANDS), rng.choice(OFFERS)
    claim = rng.choice(PLURAL_CLAIMS if plural else CLAIMS)
    chosen: list[tuple[str, str]] = []
    while len(chosen) < places:
        one = rng.choice(PLACES)
        if all(one[1].split()[-1] not in other[1] and other[1].split()[-1] not in one[1] for other in chosen):
            chosen.append(one)
    timed = rng.random() < 0.6
    times = sorted(rng.sample(range(4), places)) if timed else []
    told = [f"{one[0]} {TIMES[times[index]]}" if timed else one[0] for index, one in enumerate(chosen)]
    way = told[0] if places == 1 else f"{', '.join(told[:-1])}{rng.choice((', ', ' and ', ', then '))}{told[-1]}"
    article = "" if plural else ("an " if name[0] in "aeiou" else "a ")
    it = "They" if plural else "It"
    called = f" called {brand}" if brand else ""
    which = f", which {claim}" if claim else ""
    said = f" {it} {claim}." if claim else ""
    sold = f" {offer[0].upper()}{offer[1:]}." if offer else ""
    forms = (
        f"An ad for {article}{name}{called}.{said} We see it {way}.{sold}",
        f"Promote our {name}{called}{which}, filmed {way}.{sold}",
        f"We sell {article}{name}{called}.{said} Show it {way}.{sold}",
        f"Create a calm 15 second ad for the {name}{called}.{said} It plays {way}.{sold}",
        f"{article}{name}{called} {way}.{said}{sold}".capitalize() if not brand else
        f"Make a video ad for {article}{name}{called} {way}.{said}{sold}",
        f"Make a fresh spot for our new {name}{called}: {way}.{said}{sold}",
    )  # fmt: skip
    return Known(
        prompt=rng.choice(forms),
        noun=noun.split()[-1],
        colour=colour,
        brand=brand,
        claim=claim,
        offer=offer,
        places=tuple((one[1], TIMES[times[index]] if timed else None) for index, one in enumerate(chosen)),
        framework=rng.choice(("AIDA", "PAS", "BAB")),
        duration=rng.choice((15, 15, 20, 30)),
    )


OUT_OF_DOMAIN = (
    "Grand opening of our coffee shop on Main Street: 20% off all lattes this weekend.",
    "An ad for running our family gym. First month free, join today.",
    "Promote our yoga classes for beginners, in a bright studio in the morning.",
    "We sell hand-made leather wallets. Show them in a cafe.",
    "An ad for our SaaS app that automates invoices for freelancers.",
    "A spot for an electric car called Volta, on a mountain road at sunrise.",
    "Local bakery with fresh sourdough every morning. Come by before it is sold out.",
    "Our dental clinic offers a free check-up in November.",
    "Advertise a two-bedroom flat with a balcony near the river.",
    "A skin care serum called Lumi for dry skin, in the bathroom.",
    "An ad for a mountain bike on a forest trail at noon.",
    "Hair salon Bella: new look, new you. Book online.",
    "Promote a weekend trip to Barcelona for couples.",
    "Pizza Roma delivers in 30 minutes, also at night.",
    "An ad for noise-cancelling headphones in the subway.",
    "We offer piano lessons for children. No experience needed.",
    "A commercial for dog food with chicken. Dogs love it.",
    "Law firm Meyer: we fight for your rights.",
    "An ad for a fitness tracker app with a 14 day free trial.",
    "Show our garden furniture on a terrace in the evening.",
    "A video for a charity that plants trees in Kenya.",
    "Promote our online course on data science.",
    "An ad for a smartphone with a great camera, in the city at night.",
    "Our winery invites you to a tasting in the vineyard at sunset.",
    "Ad for a robot vacuum cleaner that cleans while you sleep.",
    "A short film for a hotel by the sea with spa and breakfast.",
    "Wedding photography by Anna, natural and unposed.",
    "An ad for organic tea from Ceylon.",
    "Insurance for young drivers from 29 euros a month.",
    "A trailer for our new mobile game with dragons.",
    "Promote a summer dress in light cotton on the beach.",
    "An ad for a gold necklace with a small diamond.",
    "The car wash on Highway 5: shiny in ten minutes.",
    "Make an ad for our plumbing service, day and night.",
    "A brown leather sofa in a living room, delivered free.",
    "An ad for a brown mug in the kitchen.",
    "An ad for a red bottle in a gym.",
    "A blue water bottle on the moon at night.",
    "Eine Anzeige für eine rote Tasse in der Küche am Morgen.",
    "Une publicité pour une bouteille bleue sur la plage le soir.",
)
"""What people ask for: shops, services, apps, other things; and things of the toy world in colours, places or languages
that it lacks."""
NAMELESS = ("Your ad description", "Your ad concept", "Make a great ad for our brand", "An ad for my product")
"""Briefs that name no product: neither refused nor flagged, but warned of."""
BY_HAND = (
    Known(
        prompt=(
            "An ad for a teal steel water bottle called Dew. It keeps drinks cold all day: on the kitchen "
            "counter in the morning, in the forest at noon, on the beach in the evening."
        ),
        noun="bottle",
        colour="teal",
        brand="Dew",
        claim="keeps drinks cold all day",
        offer=None,
        places=(("kitchen counter", "in the morning"), ("forest", "at noon"), ("beach", "in the evening")),
        framework="AIDA",
        duration=15,
    ),
    Known(
        prompt=(
            "We sell a matte black watch that never lets you down. Show it in the city at night. Order now at"
            " tick.com. No people."
        ),
        noun="watch",
        colour="black",
        brand=None,
        claim="never lets you down",
        offer=None,
        places=(("city", "at night"),),
        framework="PAS",
        duration=15,
    ),
    Known(
        prompt=(
            "Running shoes for marathon runners called Strider. Show them in the snow at sunrise. Now only "
            "$89.99 at strider.com"
        ),
        noun="shoes",
        colour=None,
        brand="Strider",
        claim=None,
        offer="$89.99",
        places=(("snow", "at sunrise"),),
        framework="AIDA",
        duration=15,
    ),
    Known(
        prompt=(
            "Make a 15 second video ad for the Nordal water bottle, from the kitchen to the forest and then "
            "the beach at sunset. 15% off until Sunday!"
        ),
        noun="bottle",
        colour=None,
        brand="Nordal",
        claim=None,
        offer="15% off until Sunday",
        places=(("kitchen", None), ("forest", None), ("beach", "at sunset")),
        framework="AIDA",
        duration=15,
    ),
    Known(
        prompt="Promote our new coffee mug to commuters, filmed on a desk in the morning. The mood is calm.",
        noun="mug",
        colour=None,
        brand=None,
        claim=None,
        offer=None,
        places=(("desk", "in the morning"),),
        framework="BAB",
        duration=15,
    ),
    Known(
        prompt=(
            'Create a bold ad for the green gift box called "Hurra" in the snow, then in a studio. Only '
            "€19.90, free shipping. Call to action: Give joy today."
        ),
        noun="box",
        colour="green",
        brand="Hurra",
        claim=None,
        offer="€19.90",
        places=(("snow", None), ("studio", None)),
        framework="AIDA",
        duration=20,
    ),
    Known(
        prompt=(
            "A short playful spot among trees in the forest, warm glow for the desk lamp, which needs no "
            "battery. People should want to have it at once."
        ),
        noun="lamp",
        colour=None,
        brand=None,
        claim="needs no battery",
        offer=None,
        places=(("forest", None),),
        framework="AIDA",
        duration=15,
    ),
    Known(
        prompt=(
            "Show our orange soda can on the beach at noon, at the table in the evening, and in the city at "
            "night. It starts at twenty euros."
        ),
        noun="can",
        colour="orange",
        brand=None,
        claim="starts at twenty euros",
        offer=None,
        places=(("beach", "at noon"), ("table", "in the evening"), ("city", "at night")),
        framework="PAS",
        duration=30,
    ),
    Known(
        prompt="Halden is a blue flask. It holds a litre. Pictures in the desert at noon, and nobody in them.",
        noun="flask",
        colour="blue",
        brand="Halden",
        claim="holds a litre",
        offer=None,
        places=(("desert", "at noon"),),
        framework="AIDA",
        duration=15,
    ),
    Known(
        prompt="A pair of white sneakers on a neon street at night, half price this weekend",
        noun="sneakers",
        colour="white",
        brand=None,
        claim=None,
        offer="half price this weekend",
        places=(("street", "at night"),),
        framework="BAB",
        duration=15,
    ),
)
"""As people write them."""
