"""Words by which rules read an owner's directions: agreement in seven languages, times, camera moves, moods. Data only.

Agreement and refusal are known in English, German, French, Spanish, Italian, Portuguese and Dutch; the commonest words
of a wish in the first five are put into English before it is read.
"""

from __future__ import annotations

import re

from models.spec import CameraMove

APPROVALS = (
    # English
    r"approv(?:e|ed|al|es|ing)|agreed?|accept(?:ed)?|confirm(?:ed)?|looks? (?:good|great|perfect|fine|nice|"
        r"amazing|lovely|"
    r"awesome|right)|sounds? (?:good|great|fine)|(?:works|good|fine|ok(?:ay)?) (?:for|with|by) me|good to go|go ahead|"
    r"go on|go for it|carry on|continue|proceed|move on|next(?: (?:stage|step))?|ok(?:ay)?|okey|yes|yep|yeah|yup|sure|"
    r"lgtm|ship it|perfect(?:ly)?|love(?: it)?|like(?: it)?|great|good|fine|nice|excellent|wonderful|fantastic|awesome|"
    r"amazing|super|cool|beautiful|brilliant|lovely|done|all good|well done|thumbs up|exactly|correct|right|"
    r"happy|satisfied|convinced|pleased|"
    # German
    r"ja|jawohl|jep|genehmigt|freigegeben|freigabe|einverstanden|passt(?: so| gut)?|gefällt mir|gefaellt "
        r"mir|gut|sehr gut|"
    r"prima|toll|klasse|wunderbar|ausgezeichnet|weiter(?: so)?|in ordnung|alles klar|sieht gut aus|schön|genau|perfekt|"
    # French
    r"oui|d'accord|approuvée?|validée?|je valide|j'approuve|parfaite?|très bien|tres bien|c'est bon|ça me va|ca me va|"
    r"bien|super|génial|genial|j'aime|j'adore|excellente?|continuez|vas-y|allez-y|"
    # Spanish
    r"sí|si|aprobad[oa]|apruebo|de acuerdo|vale|perfect[oa]|muy bien|bien|me gusta|me encanta|adelante|"
        r"genial|estupendo|"
    r"excelente|continúa|continua|continúe|está bien|esta bien|"
    # Italian
    r"sì|approvat[oa]|approvo|d'accordo|va bene|vabbene|perfett[oa]|molto bene|bene|mi piace|ottimo|avanti|"
        r"bello|bellissimo|"
    r"continua|"
    # Portuguese, Dutch
    r"sim|aprovad[oa]|aprovo|ótimo|otimo|gosto|muito bem|pode continuar|goedgekeurd|akkoord|prima zo|mooi|ga door|goed|"
    r"heel goed"
)  # fmt: skip
REJECTIONS = (
    r"no|nope|nah|un-?approved|reject(?:ed)?|disapproved?|declined?|refused?|denied|veto|bad|terrible|awful|horrible|"
    r"ugly|wrong|hate(?: it)?|"
    r"dislike(?: it)?|unacceptable|disagree|boring|meh|"
    r"nein|nö|abgelehnt|schlecht|falsch|gefällt mir nicht|gefaellt mir nicht|"
    r"non|refusée?|rejetée?|mauvaise?|je n'aime pas|pas d'accord|pas bon|pas bien|"
    r"rechazad[oa]|rechazo|mal|no me gusta|malo|"
    r"rifiutat[oa]|respint[oa]|non mi piace|non va bene|male|brutto|"
    r"não|nao|rejeitad[oa]|nee|afgekeurd|niet goed"
)
NEGATIONS = (
    r"not|n't|dont|isnt|cant|wont|never|no longer|neither|nor|cannot|yet|hardly|un-?approved|"
    r"nicht|kein(?:e[nmrs]?)?|noch|pas|jamais|ne|encore|todavía|aún|nunca|tampoco|non|ancora|mai|niet|nog|ainda"
)
FILLERS = (
    r"i|i'm|i am|i'd|we|we're|it|it's|its|this|that|that's|them|these|those|the|to|now|please|pls|thanks?|"
    r"thank you|thx|very|"
    r"so|really|all|let's|lets|let|us|and|a|an|my|our|me|you|for|of|with|as|job|is|are|am|was|be|do|does|"
    r"did|can|has|have|been|"
    r"stage|step|story|stories|references?|images?|pictures?|storyboards?|videos?|clips?|draft|ad|"
    r"everything|work|version|one|"
    r"hi|hello|hey|dear|ah|oh|well|just|then|here|there|from|my side|everyone|absolutely|totally|definitely|"
    r"certainly|much|"
    r"at all|too|also|always|pretty|quite|think|want|would|say|will|should|"
    r"ich|wir|es|das|die|der|ist|so|bitte|danke|mir|sehr|auch|und|bin|bild|geschichte|mach|nun|jetzt|alles|"
    r"je|j'|c'est|ce|cette|est|l'|le|la|les|s'il vous plaît|s'il vous plait|svp|merci|moi|beaucoup|pour|"
    r"tout|et|suis|histoire|"
    r"yo|lo|el|los|esto|esta|por favor|gracias|mucho|todo|muy|está|estoy|y|me|historia|"
    r"io|mi|il|questo|questa|per favore|grazie|molto|tutto|è|e|sono|storia|ha|"
    r"eu|o|por|obrigad[oa]|ik|het|dit|dat|dank je|bedankt|alsjeblieft"
)
QUESTION = re.compile(
    r"^(?:so |and |but |ok |hey |hi |hello )?(?:what|what's|why|how|when|where|where's|who|whose|which|is|"
    r"are|was|were|does|do|"
    r"did|has|have|will|should|shall|am|may|"
    r"was|wie|warum|wann|wo|wer|welche[rsnm]?|ist|sind|hat|kann|"
    r"que|quoi|quel(?:le)?s?|pourquoi|comment|quand|où|qui|est-ce|est-il|est-elle|a-t-il|"
    r"qué|cuál|cómo|cuándo|dónde|quién|está|es|"
    r"che|cosa|perché|come|quando|dove|chi|quale|è)\b",
    re.IGNORECASE,
)
REQUEST = re.compile(
    r"^(?:so |and |but |ok |hey |hi |hello )?(?:can|could|would|will|may|might|won't|can't|couldn't|is it "
    r"possible|would it be "
    r"possible|any chance|kannst|könntest|können|könnten|peux|peut|pouvez|pourriez|pourrais|puedes|puede|"
    r"podrías|podría|puoi|"
    r"potresti|può)\b|\bplease\b|\bwould you mind\b",
    re.IGNORECASE,
)
"""A wish put as a question: `can you make scene 2 brighter?`."""
VAGUE = re.compile(
    r"\b(?:better|nicer|improve[ds]?|more interesting|more professional|pop|polish|fix|cooler looking|different(?:ly)?|"
    r"something else|besser|schöner|mieux|mejor|meglio|change it|redo everything)\b",
    re.IGNORECASE,
)

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

TIMES: tuple[tuple[str, str], ...] = (
    (r"(?:at|by|in the|during the|around|towards?|before|until)?\s*\b(?:golden hour)\b", "at golden hour"),
    (r"(?:at|by|in the|during the|around)?\s*\bblue hour\b", "at blue hour"),
    (r"(?:at|around|by)?\s*\bmidnight\b", "at midnight"),
    (r"\b(?:after dark|when (?:it's|it is|it gets) dark|in the dark|under the (?:stars|moon)|by moonlight|in moonlight|"
     r"moonlit)\b", "at night"),
    (r"(?:at|by|in the|during the|into the|to|a)?\s*\b(?:night-?time|nightfall|nighttime|tonight|night|"
        r"nights|nocturnal)\b", "at night"),
    (r"(?:in the|at|during the|on an?|early in the|in|by|to)?\s*\b(?:early |late )?mornings?\b", "in the morning"),
    (r"(?:at|by|during|around|to)?\s*\b(?:the )?(?:sunrise|sun rise|sun-up|sunup)\b|\b(?:when|as|while) the "
        r"sun (?:comes up|rises|is rising)\b", "at sunrise"),
    (r"(?:at|by|during|around|to)?\s*\b(?:the )?(?:dawn|daybreak|first light)\b", "at dawn"),
    (r"(?:in the|at|during the|to)?\s*\b(?:early |late )?afternoons?\b", "in the afternoon"),
    (r"(?:at|around|by|to)?\s*\b(?:high )?(?:noon|midday|mid-day|noontime|lunchtime|lunch time)\b", "at noon"),
    (r"(?:at|by|during|around|to)?\s*\b(?:the )?(?:sunset|sundown|sun set)\b|\b(?:when|as|while) the sun "
        r"(?:goes down|sets|is setting)\b", "at sunset"),
    (r"(?:at|by|during|around|to)?\s*\b(?:the )?(?:dusk|twilight)\b", "at dusk"),
    (r"(?:in the|at|during the|to|of an?)?\s*\b(?:early |late )?evenings?\b", "in the evening"),
    (r"\b(?:in|by|during|to|at)?\s*(?:the |broad |full )?(?:daylight|daytime|day-time|day time)\b|\bby "
        r"day\b|\bduring the day\b", "in daylight"),
)  # fmt: skip
CAMERA: tuple[tuple[str, CameraMove], ...] = (
    (r"\b(?:no camera (?:move|movement|motion)|without (?:any )?camera (?:move|movement|motion)s?|(?:static|"
        r"still|fixed|"
     r"locked(?:-off| off)?|motionless|steady|stationary) (?:camera|shot|frame)|(?:hold|keep|leave|make|"
         r"lock) the camera "
     r"(?:still|static|steady|fixed|locked|where it is)|camera (?:should |must |has to |to )?(?:(?:be|stay|"
         r"stand|hold|remain|"
     r"is|stays|stands) )?(?:still|static|fixed|locked|steady|motionless)|(?:don't|do not|dont|never) move the camera|"
     r"camera (?:should |must )?not move|camera doesn't move|tripod|static|locked off)\b", "static"),
    (r"\b(?:zoom(?:s|ed|ing)?[- ](?:slowly |quickly |closer )?in(?:to)?|zoom-in|push(?:es|ing)?[- "
        r"](?:slowly |closer )?in|dolly(?:ing)?[- ]in|"
     r"(?:move|moves|go|goes|get|gets|come|comes|creep|creeps) (?:the camera )?(?:in |a bit |a little |"
         r"slowly )*closer|closer|"
     r"(?:camera )?(?:moves?|goes) in|close-?up|approach(?:es)?)\b", "push_in"),
    (r"\b(?:zoom(?:s|ed|ing)?[- ](?:slowly |quickly )?out|zoom-out|pull(?:s|ing)?[- ](?:slowly |away |the "
        r"camera )?(?:back|out|away)|"
     r"pull-back|dolly(?:ing)?[- ](?:out|back)|back(?:s)? (?:away|off)|(?:move|moves|go|step)s? (?:the camera )?"
     r"(?:back|away|further away|out)|further away|farther away|wider)\b", "pull_back"),
    (r"\bpan(?:s|ned|ning)?[- ](?:the camera |slowly |from right )?(?:to |towards? )?(?:the "
        r")?left(?:wards)?\b|\bfrom right to left\b|"
     r"\bleft(?:ward)? pan\b|\bcamera (?:\w+ )?(?:to the )?left\b", "pan_left"),
    (r"\bpan(?:s|ned|ning)?[- ](?:the camera |slowly |from left )?(?:to |towards? )?(?:the "
        r")?right(?:wards)?\b|\bfrom left to right\b|"
     r"\bright(?:ward)? pan\b|\bcamera (?:\w+ )?(?:to the )?right\b", "pan_right"),
    (r"\btilt(?:s|ed|ing)?[- ](?:the camera |slowly )?(?:up(?:wards?)?)\b|\bcamera (?:\w+ )?up(?:wards?)?\b|"
        r"\b(?:looks?|moves?) upwards?\b", "tilt_up"),
    (r"\btilt(?:s|ed|ing)?[- ](?:the camera |slowly )?(?:down(?:wards?)?)\b|\bcamera (?:\w+ )?down(?:wards?)?\b|"
     r"\b(?:looks?|moves?) downwards?\b", "tilt_down"),
    (r"\borbit(?:s|ed|ing|al)?(?: shot| around(?: (?:the|it)(?: \w+)?)?| the \w+)?\b|\b(?:circles?|circling|"
        r"revolves?|rotates?|travels?|goes?|moves?|arcs?|flies|fly|swings?) "
     r"(?:the camera )?(?:all the way )?a?round(?: the \w+| it)?\b|\bcircle the \w+\b|\b360(?:°| "
         r"degrees?)?\b|\barc shot\b", "orbit"),
)  # fmt: skip
DIRECTIONLESS = re.compile(r"\b(?:pan(?:s|ning)?|tilt(?:s|ing)?|zoom(?:s|ing)?)\b", re.IGNORECASE)
"""A move that could go two ways."""
LOOKS: tuple[tuple[str, str], ...] = (
    (r"\btoo dark\b|\b(?:much |a bit |a little |way )?brighter\b|\bmore light\b|\blighter\b|\bless dark\b|"
        r"\bbright(?:en)?(?: (?:it|light))?(?: up)?\b", "bright light"),
    (r"\btoo (?:bright|light)\b|\b(?:much |a bit |a little )?darker\b|\bless (?:bright|light)\b|\bdarken\b|"
        r"\bmood(?:y|ier) light\b|\bmoodier\b|\bmoody\b", "moody light"),
    (r"\btoo cold\b|\bwarmer\b|\bwarm (?:light|tones?|colou?rs|glow)\b|\bgolden light\b|\bwarm\b", "warm light"),
    (r"\btoo warm\b|\b(?:cooler|colder)\b|\b(?:cool|cold|bluish) (?:light|tones?|colou?rs)\b", "cool light"),
    (r"\b(?:more )?dramatic light(?:ing)?\b|\bhard(?:er)? light\b|\bhigher contrast\b|\bmore contrast\b",
     "dramatic light"),
    (r"\bsofter\b|\bsoft light(?:ing)?\b|\bless (?:harsh|contrast)\b|\btoo harsh\b", "soft light"),
)  # fmt: skip
MOODS: tuple[tuple[str, str], ...] = (
    (r"\bfunn(?:y|ier)\b|\bhumou?r(?:ous)?\b|\bhilarious\b|\bmore fun\b|\bwitty\b|\bwittier\b|\bjokes?\b|"
        r"\bcomic(?:al)?\b|\bfun\b", "funny"),
    (r"\bplayful(?:ler)?\b|\bcheerful\b|\bcheer(?:ier|y)\b|\bhapp(?:y|ier)\b|\bjoyful\b|\btoo (?:serious|"
        r"sad|dry)\b|\bless serious\b", "playful"),
    (r"\b(?:more )?serious\b|\btoo (?:funny|silly)\b|\bless (?:funny|silly)\b|\bsober\b", "serious"),
    (r"\bemotional\b|\bmoving\b|\btouching\b|\bheart-?warming\b|\bless cold\b", "emotional"),
    (r"\bdrama(?:tic)?\b|\bepic\b|\bthrilling\b|\bsuspense(?:ful)?\b", "dramatic"),
    (r"\bcalm(?:er)?\b|\bquiet(?:er)?\b|\brelax(?:ed|ing)\b|\bpeaceful\b|\bslower\b|\bslow(?:er)? pace\b|"
        r"\btoo (?:fast|hectic|loud)\b|\bserene\b", "calm"),
    (r"\benerg(?:etic|y)\b|\bdynamic\b|\bfaster\b|\bmore action\b|\bexcit(?:ing|ement)\b|\btoo (?:slow|"
        r"boring|calm|dull)\b|\blivel(?:y|ier)\b|\bupbeat\b|\bpunch(?:y|ier)\b", "energetic"),
    (r"\belegant\b|\bluxur(?:y|ious)\b|\bpremium\b|\bclass(?:y|ier)\b|\bsophisticated\b", "elegant"),
    (r"\bromantic\b", "romantic"), (r"\bmysterious\b", "mysterious"), (r"\bcos(?:y|ier)\b|\bcoz(?:y|ier)\b", "cosy"),
    (r"\bminimal(?:ist(?:ic)?)?\b|\bsimpler\b|\bmore simple\b|\btoo complicated\b", "simple"),
    (r"\bbold(?:er)?\b|\bconfident\b", "bold"), (r"\bfriendl(?:y|ier)\b", "friendly"), (r"\binspir(?:ing|"
        r"ational)\b", "inspiring"),
)  # fmt: skip
LENGTHS: tuple[tuple[str, str], ...] = (
    (r"\bshort(?:er|en)?(?: it)?(?: (?:down|text))?\b|\bless (?:text|words?|wordy|long)\b|\bfewer words\b|"
        r"\bbrief(?:er)?\b|\bmore concise\b|"
     r"\bconcise\b|\btoo (?:long|wordy|much text)\b|\btight(?:er|en)\b|\bcut (?:it |the text )?(?:down|"
         r"short)\b|\btrim\b|\bcrisper\b", "shorter"),
    (r"\blonger\b|\bmore (?:text|words|detail(?:s|ed)?)\b|\btoo short\b|\bexpand\b|\belaborate\b|"
        r"\blengthen\b", "longer"),
)  # fmt: skip

FOREIGN: tuple[tuple[str, str], ...] = (
    # scenes and their order
    (r"\b(?:szenen?|scènes?|escenas?|scen[ae]|bild(?:er)?|einstellung(?:en)?)\b(?=\s*\d)", "scene"),
    (r"\b(?:(?:in |bei )?(?:der|die|das|den)|la|le|l'|el|il|(?:en|dans|nella|alla|à|a) la|in "
        r"der)\s*(?:erste[nr]?|première|premiere|primera|prima)\s+"
     r"(?:szene|scène|escena|scena|einstellung)", "the first scene"),
    (r"\b(?:(?:in |bei )?(?:der|die)|la|le|(?:en|dans|nella|à|a) la|in der)\s*(?:zweite[nr]?|deuxième|"
        r"deuxieme|seconde|segunda|seconda)\s+"
     r"(?:szene|scène|escena|scena|einstellung)", "the second scene"),
    (r"\b(?:(?:in |bei )?(?:der|die)|la|le|(?:en|dans|nella|à|a) la|in der)\s*(?:dritte[nr]?|troisième|"
        r"troisieme|tercera|terza)\s+"
     r"(?:szene|scène|escena|scena|einstellung)", "the third scene"),
    (r"\b(?:(?:in |bei )?(?:der|die)|la|le|(?:en|dans|nella|à|a) la|in der)\s*(?:letzte[nr]?|dernière|"
        r"derniere|última|ultima)\s+"
     r"(?:szene|scène|escena|scena|einstellung)", "the last scene"),
    (r"\b(?:la|nella|en la|dans la)\s+(?:scène|escena|scena)\s+(?:finale?|ultima|última)\b", "the last scene"),
    (r"\b(?:alle(?:n)? szenen|überall|toutes les scènes|partout|todas las escenas|en todas partes|tutte le "
        r"scene|dappertutto)\b", "all scenes"),
    # times
    (r"\b(?:bei nacht|in der nacht|nachts|de nuit|la nuit|pendant la nuit|de noche|por la noche|di notte|"
        r"alla notte|à noite)\b", "at night"),
    (r"\b(?:am morgen|morgens|le matin|au matin|por la mañana|de mañana|di mattina|al mattino|la mattina)\b",
     "in the morning"),
    (r"\b(?:am abend|abends|le soir|en soirée|por la tarde|al atardecer|di sera|la sera|alla sera)\b",
     "in the evening"),
    (r"\b(?:bei sonnenuntergang|au coucher du soleil|al tramonto|en la puesta de sol)\b", "at sunset"),
    (r"\b(?:bei sonnenaufgang|au lever du soleil|all'alba|al amanecer)\b", "at sunrise"),
    (r"\b(?:am mittag|mittags|à midi|a midi|al mediodía|a mezzogiorno)\b", "at noon"),
    # places
    (r"\b(?:am strand|an den strand|auf dem strand|à la plage|sur la plage|en la playa|a la playa|sulla "
        r"spiaggia|in spiaggia|alla spiaggia)\b", "on the beach"),
    (r"\b(?:im wald|in den wald|dans la forêt|en forêt|en el bosque|al bosque|nel bosco|nella foresta)\b",
     "in the forest"),
    (r"\b(?:in der küche|in die küche|dans la cuisine|en la cocina|a la cocina|in cucina|nella cucina)\b",
     "in the kitchen"),
    (r"\b(?:in der stadt|in die stadt|dans la ville|en ville|en la ciudad|in città|nella città)\b", "in the city"),
    (r"\b(?:in der wüste|in die wüste|dans le désert|en el desierto|nel deserto)\b", "in the desert"),
    (r"\b(?:im schnee|in den schnee|dans la neige|en la nieve|nella neve|sulla neve)\b", "in the snow"),
    (r"\b(?:im studio|ins studio|en studio|dans un studio|en un estudio|en el estudio|in uno studio)\b", "in a studio"),
    (r"\b(?:auf (?:dem|den) tisch|auf einem tisch|sur la table|sur une table|sobre la mesa|en la mesa|sul "
        r"tavolo)\b", "on a table"),
    # colours
    (r"\b(?:rot(?:e[nmrs]?)?|rouges?|roj[oa]s?|ross[oaie])\b", "red"),
    (r"\b(?:blau(?:e[nmrs]?)?|bleue?s?|azul(?:es)?|blu)\b", "blue"),
    (r"\b(?:grün(?:e[nmrs]?)?|verte?s?|verdes?)\b", "green"),
    (r"\b(?:gelb(?:e[nmrs]?)?|jaunes?|amarill[oa]s?|giall[oaie])\b", "yellow"),
    (r"\b(?:schwarz(?:e[nmrs]?)?|noire?s?|negr[oa]s?|ner[oaie])\b", "black"),
    (r"\b(?:weiß(?:e[nmrs]?)?|weiss(?:e[nmrs]?)?|blanche?s?|blanc|blanc[oa]s?|bianc[oahie]+)\b", "white"),
    (r"\b(?:lila|violett|violette?s?|morad[oa]s?|viola)\b", "purple"),
    (r"\b(?:rosa(?:farben)?|roses?)\b", "pink"),
    (r"\b(?:naranja|arancione|orange(?:ne[nmrs]?)?)\b", "orange"),
    (r"\b(?:türkis(?:e[nmrs]?)?|turquesa|turchese)\b", "teal"),
    # product, camera, length, mood
    (r"\b(?:das produkt|le produit|el producto|il prodotto)\b", "the product"),
    (r"\b(?:flasche|bouteille|botella|bottiglia)\b", "bottle"), (r"\b(?:tasse|becher|taza|tazza|mok)\b", "mug"),
    (r"\b(?:schuhe?|chaussures?|zapatos?|zapatillas?|scarp[ae])\b", "shoe"), (r"\b(?:uhr|montre|reloj|"
        r"orologio)\b", "watch"),
    (r"\b(?:lampe|lámpara|lampada)\b", "lamp"), (r"\b(?:dose|lata|lattina|canette)\b", "can"),
    (r"\b(?:hineinzoomen|heranzoomen|zoome? (?:hinein|heran|rein|ran)|näher ran|zoome? avant|zoomez|"
        r"acerca(?: la cámara)?|zoom in avanti|avvicina)\b", "zoom in"),
    (r"\b(?:herauszoomen|zoome? (?:heraus|raus)|zoom arrière|aleja(?: la cámara)?|allontana)\b", "zoom out"),
    (r"\b(?:kürzer|plus court[es]*|más cort[oa]s?|mas corto|più cort[oaie]|più breve)\b", "shorter"),
    (r"\b(?:länger|plus long(?:ue)?s?|más larg[oa]s?|più lung[oahie]+)\b", "longer"),
    (r"\b(?:lustig(?:er)?|witzig(?:er)?|plus (?:drôle|amusant)e?s?|drôle|más divertid[oa]s?|divertid[oa]|"
        r"più divertente|divertente)\b", "funnier"),
    (r"\b(?:heller|plus clair[es]*|plus lumineu(?:x|se)|más clar[oa]|più luminos[oa]|più chiar[oa])\b", "brighter"),
    (r"\b(?:dunkler|plus sombre|más oscur[oa]|più scur[oa])\b", "darker"),
    (r"\b(?:sein|être|ser|essere|werden)\b", "be"),
    (r"\b(?:soll(?:te|en)?|muss|doit|devrait|debe(?:ría)?|dovrebbe|deve)\b", "should"),
    (r"\b(?:in szene|dans la scène|en la escena|nella scena|à la scène)\b", "in scene"),
)  # fmt: skip
"""Words of other languages, longest phrases first, and what they are in English."""
