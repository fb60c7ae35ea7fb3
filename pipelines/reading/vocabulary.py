"""Words by which rules read briefs and drafts: colours, materials, places, times of day, people. Data only."""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """The words of `text`, which blanks part."""
    return frozenset(text.split())


COLOURS = word_set(
    """
    red crimson scarlet orange yellow golden gold green teal turquoise blue navy purple violet lilac pink magenta
    white black brown beige grey gray silver bronze copper ivory cream maroon burgundy olive mint coral lavender cyan
    indigo khaki amber emerald
    """
)
MATERIALS = word_set(
    """
    steel stainless metal metallic matte matt glossy shiny polished brushed leather ceramic glass wooden wood bamboo
    cotton wool plastic silicone aluminium aluminum titanium copper porcelain canvas suede denim linen silk rubber
    stone marble concrete paper cardboard velvet
    """
)
FINISHES = ("brushed metal", "stainless steel", "brushed steel")
"""Materials of two words."""
PLACE_NOUNS = word_set(
    """
    kitchen counter countertop worktop stove beach shore seashore seaside coast sea ocean sand sands waves forest
    wood woods woodland trees tree jungle rainforest studio backdrop background city street streets skyline downtown
    alley avenue crossroads desert dune dunes snow ice mountain mountains mountaintop hill hills hilltop slope slopes
    summit peak glacier landscape table desk tabletop living-room room lounge office gym rooftop roof cafe café
    coffee-shop lake lakeside river riverbank riverside stream pond library train garden market bathroom bedroom bridge
    workshop campsite camp campfire boat ship yacht park pool swimming-pool bakery vineyard field fields meadow airport
    barn fireplace waterfall greenhouse balcony museum tunnel farm island road highway trail path sidewalk pavement
    store shop boutique restaurant bar pub hotel lobby school classroom university campus stadium court track
    playground home house apartment flat sofa couch windowsill window terrace patio yard backyard garage car bus subway
    metro station platform harbour harbor port dock pier cliff canyon valley savanna savannah tundra cave moon mars
    space planet church castle palace village town square plaza mall supermarket theatre theater cinema club nightclub
    stage concert festival spa sauna salon hospital clinic laboratory lab factory warehouse picnic tent plain plains
    countryside orchard lawn porch doorstep hallway shelf nightstand bench stop boardwalk promenade ridge shoreline
    marina attic basement cabin chalet lodge lighthouse zoo aquarium temple ruins stairs staircase elevator
    """
)
"""Nouns that end the name of a place."""
PLACE_PREPOSITIONS = (
    "in front of", "on top of", "in", "on", "at", "by", "before", "near", "inside", "under", "among", "beside",
    "behind", "along", "through", "around", "over", "beneath", "across", "against", "next to",
)  # fmt: skip
ON_PLACES = word_set(
    """
    beach shore seashore counter countertop worktop table desk tabletop rooftop roof street road highway trail path
    mountain mountaintop hilltop summit balcony terrace patio farm field boat ship train bus sofa couch windowsill
    coast dunes sand bridge island stage pier porch shelf nightstand bench lawn boardwalk doorstep
    """
)
"""Places that one is on rather than in."""
TIMES = (
    "dawn", "daybreak", "sunrise", "morning", "noon", "midday", "lunchtime", "afternoon", "evening", "dusk",
    "twilight", "sunset", "night", "nightfall", "midnight", "golden hour", "blue hour", "daylight",
)  # fmt: skip
PEOPLE = word_set(
    """
    people person persons man men woman women child children kid kids boy boys girl girls baby babies family families
    friend friends crowd someone everyone somebody everybody hand hands face faces actor actors model models customer
    customers runner runners hiker hikers chef chefs couple couples parent parents
    """
)
AUDIENCES = PEOPLE | word_set(
    """
    students commuters athletes travellers travelers workers owners cooks gamers lovers owls risers teens teenagers
    professionals teachers fans beginners seniors mothers fathers moms mums dads cyclists swimmers climbers campers
    office offices homes readers writers artists designers developers engineers nurses doctors drivers dancers
    musicians surfers skiers walkers adults toddlers pets dogs cats brides gardeners bakers collectors minimalists
    explorers adventurers everybody teams freelancers nomads enthusiasts
    """
)
CALL_VERBS = (
    "buy", "shop", "order", "get", "try", "taste", "visit", "discover", "call", "join", "book", "grab", "choose",
    "download", "start", "subscribe", "find", "claim", "pick", "meet", "see", "explore", "learn", "take", "reserve",
    "sign up", "save", "bring", "make", "treat", "feel", "come", "give", "wear", "drink", "enjoy", "experience", "own",
    "step", "pre-order", "preorder", "ask", "go", "switch", "upgrade",
)  # fmt: skip
"""Verbs that ask the viewer to act."""
CLAIM_VERBS = word_set(
    """
    keeps is has holds makes saves looks fits feels works needs folds comes never lasts starts gives brings stays
    turns wakes tastes helps does can will lets protects cleans charges tells shows lights stands carries cools heats
    survives weighs opens closes resists floats glows shines warms runs grips supports cushions blocks absorbs removes
    reduces improves changes connects tracks measures reminds seals locks breathes dries takes goes sits remembers
    delivers fills filters cuts grows always also cannot doesn't won't wears smells sounds moves dims adapts adjusts
    hydrates soothes nourishes travels costs bends bounces repels
    """
)
"""Verbs that begin what a product does."""
OTHER_PRODUCTS = word_set(
    """
    bottle flask thermos tumbler can mug cup box jar shoe shoes sneaker sneakers boot boots watch wristwatch lamp
    lantern headphones backpack perfume bicycle guitar teapot candle umbrella laptop phone smartphone speaker blender
    toaster kettle helmet scooter skateboard jacket scarf hat sunglasses necklace ring soap shampoo toothbrush lipstick
    sunscreen chocolate pizza burger dumbbell drone wallet handbag bag pen notebook keyboard tablet vase bowl plate
    glass jug pot pan smartwatch smartwatches timepiece canteen package parcel carton trainers
    """
)
"""Things that are sold, by their last word."""
