"""Sentences of the sketch author: what can happen to a product in a shot of a few seconds. Data only.

`{p}` is the product's name, `{l}` the light of the time of day (`{L}` at the head of a sentence), `{d}` and `{D}` what
goes on around it, `{f}` a detail of such a thing. `{stands|stand}` chooses by the number of the product's noun.
"""

from __future__ import annotations

Lines = tuple[str, ...]

EVENTS: dict[str, Lines] = {
    "Attention": (
        "{L} finds the {p}",
        "{D}, and there {stands|stand} the {p}",
        "A shadow slides away and the {p} {comes|come} into view",
        "The {p} {catches|catch} {l} and {d}",
        "Out of the quiet, the {p} {comes|come} into focus",
        "The view opens on the {p} while {d}",
        "The {p} {slides|slide} into the frame and {comes|come} to rest",
        "{L} runs up the {p} from bottom to top",
    ),
    "Interest": (
        "The {p} {turns|turn} slowly in {l}",
        "Up close, {f} the {p}",
        "The {p} {shows|show} every side while {d}",
        "{L} runs along the edge of the {p}",
        "The camera circles the {p} and finds every detail",
        "{D} while the {p} {stands|stand} perfectly still",
        "A slow look takes in the whole of the {p}",
        "The {p} {tilts|tilt} and {l} plays over the surface",
    ),
    "Desire": (
        "{D}, and the {p} {is|are} right at home",
        "The {p} {glows|glow} as if made for this place",
        "Everything slows down around the {p}",
        "{L} wraps around the {p} and the moment lasts",
        "The {p} {belongs|belong} here, and {d}",
        "Nothing else in the picture shines like the {p}",
        "The {p} {stays|stay} sharp while the world goes soft",
        "Everything feels lighter around the {p}",
        "{L} rests on the {p} a little longer than anywhere else",
    ),
    "Problem": (
        "The day drags on, and only the {p} {stands|stand} out",
        "{D}, and something is missing until the {p} {appears|appear}",
        "A dull moment passes behind the {p}",
        "Nothing goes right today, and the {p} {waits|wait} in the corner",
        "The place looks tired around the {p}",
        "Time crawls by beside the {p}",
    ),
    "Agitate": (
        "It gets worse while the {p} {waits|wait} just out of reach",
        "Everything else gives up, but not the {p}",
        "{D}, and still nobody reaches for the {p}",
        "Minutes pile up behind the {p}",
        "The trouble grows, and the {p} {keeps|keep} calm",
        "Shadows close in around the {p}",
    ),
    "Solve": (
        "The {p} {takes|take} over and the trouble ends",
        "Then the {p} {moves|move} to the front and all is calm",
        "With the {p} it works at once",
        "{L} breaks through and the {p} {shines|shine}",
        "One look at the {p} and the day is saved",
        "{D} again, and the {p} {stands|stand} in the middle of it",
        "The {p} {turns|turn} to the light and everything falls into place",
    ),
    "Before": (
        "The hours drag on around the {p}",
        "The place looks empty around the {p}",
        "Nothing shines here yet except the {p}",
        "{D}, and the {p} {waits|wait} to be found",
        "Everything is slow, and the {p} {stands|stand} in the shade",
        "The day has not begun for the {p}",
    ),
    "After": (
        "Now the {p} {stands|stand} in {l} and the colours return",
        "The same place feels new with the {p} in it",
        "{D}, and the {p} {makes|make} it a good day",
        "The {p} {brings|bring} the whole place to life",
        "{L} pours in and the {p} {shines|shine}",
        "The {p} {moves|move} into the light and {d}",
        "Everything is in place, and the {p} {leads|lead} the way",
    ),
    "Bridge": (
        "One slow turn of the {p} shows how easy it was",
        "All it took was the {p}",
        "From the grey day to this one, the {p} {stays|stay} the same",
        "The {p} {joins|join} the old day to the new one",
        "{D}, and the {p} {makes|make} the difference",
        "Step by step the {p} {comes|come} closer",
        "The {p} {stays|stay} in the middle, and {d}",
    ),
    "Action": (
        "The camera comes to rest on the {p}",
        "The {p} {stands|stand} in the centre, in {l}",
        "One last look at the {p}",
        "{L} settles on the {p}",
        "At last, the {p} {fills|fill} the frame",
        "{D} as the {p} {fills|fill} the frame",
    ),
}
"""By the purpose of the beat."""
PLAYFUL: dict[str, Lines] = {
    "Attention": (
        "The {p} {hops|hop} into the frame, late as always",
        "The {p} {peeks|peek} in from the side and {stays|stay}",
    ),
    "Interest": ("The {p} {spins|spin} once, just to show off", "The {p} {leans|lean} in as if to tell a joke"),
    "Desire": ("The {p} {poses|pose} as if for a portrait", "The {p} {wiggles|wiggle} a little, pleased with the view"),
    "Problem": ("Monday arrives and the {p} {rolls|roll} over once more",),
    "Agitate": ("Everything falls over except the {p}, which {bows|bow}",),
    "Solve": ("The {p} {takes|take} a bow and the trouble leaves",),
    "Before": ("Even the dust yawns around the {p}",),
    "After": ("The {p} {winks|wink} in {l}",),
    "Bridge": ("The {p} {does|do} a little dance from then to now",),
    "Action": ("The {p} {takes|take} one last bow",),
}
"""For a brief or a wish that asks for fun."""
CLAIMED: Lines = (
    "The {p} {claim}",
    "{D}, and the {p} {claim}",
)
"""Claims whose verb fits the product's number."""
BRANDED: Lines = ("{b}, the {p}, {claim}", "Meet {b}, the {p} that {claim}", "This is {b}, the {p} that {claim}")
WRITTEN: Lines = (
    'The words "{claim}" appear beside the {p}',
    'Beside the {p}, three beats of text read "{claim}"',
    '"{claim}" is written in light above the {p}',
)
"""Claims of any other form."""
LIGHTS: dict[str, Lines] = {
    "morning": ("the first sun", "soft morning light", "the early light"),
    "noon": ("bright midday light", "the high sun", "clear daylight"),
    "evening": ("the low sun", "warm evening light", "golden light"),
    "night": ("a pool of light", "the glow of the night", "silver light"),
    "": ("soft light", "clear light", "a gentle light"),
}
AROUND: dict[str, Lines] = {
    "kitchen": ("steam curls through the air", "the room comes to life", "a soft clatter fills the room"),
    "beach": ("waves roll in", "foam runs up the sand", "a breeze comes off the water"),
    "forest": ("leaves stir overhead", "a bird calls", "the branches sway"),
    "desert": ("sand drifts past", "the heat shimmers", "the wind draws lines in the sand"),
    "snow": ("snowflakes settle", "the air sparkles", "the cold wind dies down"),
    "city": ("windows light up", "traffic hums far below", "the signs flicker"),
    "table": ("a curtain moves", "dust dances in the air", "the house is quiet"),
    "studio": ("the backdrop glows", "a spotlight warms up", "the set goes quiet"),
    "": ("the world goes on", "the air is still", "time slows down"),
}
DETAILS: dict[str, Lines] = {
    "bottle": ("small drops run down", "cool mist gathers on"),
    "can": ("bubbles seem to dance inside", "cold drops gather on"),
    "mug": ("steam rises from", "warmth seems to rise from"),
    "box": ("a ribbon of light crosses", "the corners catch the light on"),
    "jar": ("light glows through", "the lid gleams on top of"),
    "shoe": ("every stitch is sharp on", "a soft step sounds under"),
    "watch": ("the hands tick on inside", "a fine line of light circles"),
    "lamp": ("a warm glow grows inside", "the switch clicks on"),
    "": ("every detail is sharp on", "a line of light crosses"),
}
TITLES_BRANDED: Lines = ("{b}: the {p}", "Meet {b}", "{b}, here and now", "This is {b}", "Made for you: {b}")
TITLES: Lines = (
    "The {p}",
    "Meet the {p}",
    "Made for you: the {p}",
    "One {p}, one good day",
    "Here {comes|come} the {p}",
)
TITLES_FOR: Lines = ("For {a}: {b}", "Made for {a}: {b}")
CALLS_BRANDED: Lines = (
    "Get {b} today", "Try {b} today", "Discover {b} now", "Get your {b} {n} today", "Choose {b} today",
    "Find your {b} {n} today", "Order {b} today",
)  # fmt: skip
CALLS: Lines = (
    "Get the {p} today", "Try the {p} today", "Discover the {p} now", "Choose the {p} today", "Order your {p} today",
    "Find your {p} today",
)  # fmt: skip
CAMERAS: dict[str, Lines] = {
    "Attention": ("push_in", "static", "tilt_up"), "Interest": ("orbit", "pan_right", "static"),
    "Desire": ("push_in", "orbit", "tilt_up"), "Problem": ("static", "pan_right"), "Agitate": ("push_in", "static"),
    "Solve": ("orbit", "push_in"), "Before": ("static", "pan_right"), "After": ("orbit", "tilt_up", "push_in"),
    "Bridge": ("pan_right", "push_in"), "Action": ("static", "push_in"),
}  # fmt: skip
"""No two of these moves turn back on each other."""
PRAISE: Lines = (
    "The {p} {is|are} in every beat, and each beat stays where the brief sets it.",
    "Clear from the first second: every beat shows the {p}, and the ad ends on its call.",
    "The beats build on each other, and the {p} {is|are} always in the picture.",
)
SCENE_PRAISE: Lines = (
    "The scene does what its beat asks, and the {p} {is|are} clear to see.",
    "The {p} {is|are} in the picture, in the right place, and the shot is short enough.",
    "One event, one place, one product: the scene keeps its beat.",
)
LIGHT_WORDS: dict[str, Lines] = {
    "morning": ("soft daylight", "soft light"), "noon": ("even light", "soft daylight"),
    "evening": ("golden light", "warm glow"), "night": ("moody light", "dramatic light"),
    "": ("soft light", "warm light", "even light"),
}  # fmt: skip
STYLES: Lines = ("sharp focus", "cinematic", "clean composition", "high quality")
HOURS: dict[str, Lines] = {
    "morning": ("morning", "dawn", "sunrise", "daybreak"), "noon": ("noon", "midday", "afternoon", "daylight"),
    "evening": ("evening", "sunset", "dusk", "twilight", "golden hour"), "night": ("night", "midnight"),
}  # fmt: skip
KINDS: dict[str, Lines] = {
    "bottle": ("bottle", "flask", "thermos", "tumbler", "canteen"), "can": ("can", "tin"),
    "mug": ("mug", "cup", "beaker"), "box": ("box", "package", "parcel", "carton", "present"),
    "jar": ("jar", "pot", "canister"), "shoe": ("shoe", "sneaker", "trainer"),
    "watch": ("watch", "timepiece", "wristwatch", "smartwatch"), "lamp": ("lamp", "lantern", "light"),
}  # fmt: skip
PLACES: dict[str, Lines] = {
    "kitchen": ("kitchen", "counter", "worktop"), "beach": ("beach", "sand by", "sea", "shore", "coast", "ocean"),
    "forest": ("forest", "wood", "tree", "jungle"), "desert": ("desert", "dune"),
    "snow": ("snow", "mountain", "winter", "glacier", "slope", "summit", "ice"),
    "city": ("city", "street", "skyline", "town"),
    "table": ("table", "desk", "living room"), "studio": ("studio", "background", "backdrop"),
}  # fmt: skip
USUAL_COLOURS = {
    "bottle": "blue", "can": "red", "mug": "white", "box": "orange", "jar": "pink", "shoe": "green", "watch": "black",
    "lamp": "yellow",
}  # fmt: skip
"""Drawn where a brief says no colour, the same in every scene."""
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white", "black")
CAPTIONS = (
    "a photo of a {c} {s}", "product photo of a {c} matte {s}", "a {c} glossy {s} in a studio",
    "a {c} metallic {s} on a table", "close up of a {c} {s}, soft light",
)  # fmt: skip
"""How a reference may be described; their mean is compared. Materials are left out of the answer: on held-out pictures
of the toy world the CLIP tells shape and colour apart, and no material (37 %)."""
COLOUR_NAMES = frozenset(
    (*COLOURS, "crimson", "turquoise", "violet", "golden", "navy", "lilac", "scarlet", "cyan", "ivory")
)
