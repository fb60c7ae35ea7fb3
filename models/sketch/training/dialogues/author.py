"""The rule-based author whose dialogues the sketch LLM learns: stories, scenes, defects in them, and honest
critiques.

Scores follow from the defects alone: no defect 90 or more, each defect takes off what it is worth. Knows
the agents' answer classes and no training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from models.sketch.training.dialogues.words import (
    CALLS,
    CAMERAS,
    DETAILS,
    EVENTS,
    OTHER_PRODUCTS,
    PEOPLE,
    TITLES,
    WITH_PERSON,
    Subject,
    brief_text,
    place,
    world_product,
)
from models.sketch.training.world.captions import SETTING_WORDS, TIME_WORDS
from models.sketch.training.world.spec import COLOURS, MATERIALS, SHAPES, TIMES
from pipelines.agents.cohesor import OverviewAnswer, PairAnswer
from pipelines.agents.conversation import CritiqueAnswer
from pipelines.agents.facts import (
    beats_without_product,
    calls_to_action,
    keeps_event,
    keeps_setting,
    listed,
    names_product,
    repeating_beats,
    same_place,
    says,
    scenes_without_product,
    stray_beats,
    usual_setting,
)
from pipelines.brief import Brief
from pipelines.screenplay import Beat, Entity, SceneDraft, Story

OPPOSITE = (("pan_left", "pan_right"), ("tilt_up", "tilt_down"), ("push_in", "pull_back"))


@dataclass(frozen=True)
class World:
    """One ad: its brief, its entities, and what the author knows behind them."""

    subject: Subject
    brief: Brief
    entities: tuple[Entity, ...]
    call: str

    @property
    def product(self) -> Entity:
        return self.entities[0]

    @property
    def settings(self) -> tuple[str, ...]:
        """The brief's places in its light."""
        light = f", {self.subject.light}" if self.subject.light else ""
        return tuple(f"{place}{light}" for place in self.subject.places)

    def setting(self, index: int, count: int) -> str:
        """Setting of beat `index` of `count`: the places in order, evenly."""
        return self.settings[index * len(self.settings) // count]


def imagine(s: Subject, rng: Random, brand: str | None) -> World:
    """Brief and entities for a subject; the product's look from the brief, or from a reference."""
    look, reference = s.look, None
    if rng.random() < 0.5:
        look, reference = f"{rng.choice(COLOURS)} {rng.choice(MATERIALS)} {rng.choice(SHAPES)}", 0
    entities = [Entity(handle="product", role="product", name=s.product, description=look, reference_index=reference)]
    if rng.random() < 0.15:
        name, description = rng.choice(PEOPLE)
        entities.append(
            Entity(handle="character-1", role="character", name=name, description=description, reference_index=1)
        )
    if rng.random() < 0.1:
        light = rng.choice(TIME_WORDS[rng.choice(TIMES)])
        entities.append(Entity(handle="style-1", role="style", name="style", description=light, reference_index=2))
    brief = Brief(prompt=brief_text(s, rng), brand_name=brand, seed=0)
    return World(s, brief, tuple(entities), rng.choice(CALLS).format(p=s.product))


def event(world: World, purpose: str, rng: Random, used: set[str]) -> str:
    """One event that no beat before has used, if there is one left."""
    stage = purpose.split(" + ")[-1]
    person = next((entity for entity in world.entities if entity.role == "character"), None)
    pool = WITH_PERSON if person and rng.random() < 0.6 else EVENTS[stage]
    fresh = [form for form in pool if form not in used] or list(EVENTS[stage])
    form = rng.choice(fresh)
    used.add(form)
    return form.format(p=world.product.name, c=person.name if person else "")


def story(world: World, purposes: tuple[str, ...], rng: Random) -> Story:
    used: set[str] = set()
    beats = [
        Beat(purpose=purpose, setting=world.setting(index, len(purposes)), event=event(world, purpose, rng, used))
        for index, purpose in enumerate(purposes)
    ]
    beats[-1] = beats[-1].model_copy(update={"event": f"{beats[-1].event}: {world.call}"})
    title = rng.choice(TITLES).format(p=world.product.name)
    return Story(title=title, beats=tuple(beats), call_to_action=world.call)


# --- defects in stories ---------------------------------------------------------------------------------------------


def other_product(world: World, rng: Random) -> str:
    while True:
        name = world_product(rng)[0] if rng.random() < 0.6 else rng.choice(OTHER_PRODUCTS)
        if not names_product(name, world.product) and not names_product(world.product.name, _named(name)):
            return name


def _named(name: str) -> Entity:
    return Entity(handle="product", role="product", name=name, description=name)


def other_place(world: World, rng: Random) -> str:
    """A place that is not only another word for the same one, and not what the brief says by chance."""
    asked = " ".join(world.subject.places)
    same = [word for words in SETTING_WORDS.values() for word in words if any(other in asked for other in words)]
    while True:
        found = place(rng)
        if found not in same and not says(asked, found) and not says(world.brief.prompt, found):
            return found


def _with_beat(draft: Story, index: int, **changes: str) -> Story:
    beats = list(draft.beats)
    beats[index] = beats[index].model_copy(update=changes)
    return draft.model_copy(update={"beats": tuple(beats)})


def _wrong_product(world: World, draft: Story, rng: Random) -> Story:
    wrong = other_product(world, rng)
    which = range(len(draft.beats)) if rng.random() < 0.4 else [rng.randrange(len(draft.beats))]
    for index in which:
        changed = draft.beats[index].event.replace(world.product.name, wrong)
        draft = _with_beat(draft, index, event=changed)
    return draft


def _no_call(world: World, draft: Story, rng: Random) -> Story:
    return _with_beat(draft, len(draft.beats) - 1, event=draft.beats[-1].event.split(": ")[0])


def _elsewhere(world: World, draft: Story, rng: Random) -> Story:
    return _with_beat(draft, rng.randrange(len(draft.beats)), setting=other_place(world, rng))


def _repeated(world: World, draft: Story, rng: Random) -> Story:
    if len(draft.beats) < 3:
        return draft
    index = rng.randrange(1, len(draft.beats) - 1)
    return _with_beat(draft, index, event=draft.beats[index - 1].event)


def spoiled(world: World, draft: Story, rng: Random) -> Story:
    """The draft with one or two defects."""
    kinds = rng.sample((_wrong_product, _no_call, _elsewhere, _elsewhere, _repeated), rng.choice((1, 1, 2)))
    for kind in kinds:
        draft = kind(world, draft, rng)
    return draft


def story_critique(world: World, draft: Story) -> CritiqueAnswer:
    """What is right and wrong with a story; defects are found again, not remembered."""
    name, count = world.product.name, len(draft.beats)
    settings = [beat.setting for beat in draft.beats]
    without, twice = beats_without_product(draft, world.product), repeating_beats(draft)
    away = stray_beats(settings, world.brief)
    silent = not calls_to_action(draft.beats[-1].event)
    fixes, score = [], 90 + count % 5
    if without:
        fixes.append(f"Show the {name} in beat {listed(without)}.")
        score -= 25 + 30 * len(without) // count
    if away:
        fixes.append(f"Set beat {listed(away)} {_right_place(world, settings, away[0])}.")
        score -= 25
    if silent:
        fixes.append(f"End beat {count} with: {draft.call_to_action}.")
        score -= 22
    if twice:
        fixes.append(f"Change the event of beat {listed(twice)}.")
        score -= 14
    strengths = [] if without else [f"Every beat shows the {name}."]
    strengths += [] if away else ["It keeps the brief's places."]
    problems = [
        text for text, found in (
            (f"the {name} is missing", without), ("the setting changes", away),
            ("the call to action is missing", silent),
            ("an event is repeated", twice),
        ) if found
    ]  # fmt: skip
    return _critique(f"The story sells the {name}.", strengths, fixes, problems, score)


def _right_place(world: World, settings: list[str], number: int) -> str:
    """Where scene or beat `number` belongs: the brief's place, or, when it names none, where the others are."""
    if world.subject.stated:
        return world.setting(number - 1, len(settings))
    return usual_setting(settings)


def _critique(praise: str, strengths: list[str], fixes: list[str], problems: list[str], score: int) -> CritiqueAnswer:
    said = f"{' and '.join(problems)}.".capitalize() if problems else praise
    return CritiqueAnswer(
        strengths=tuple(_fit(strengths[:2])),
        improvements=(),
        priority_fixes=tuple(_fit(fixes[:2])),
        critique=said[:200],
        overall_score=max(score, 10),
    )


def _fit(lines: list[str]) -> list[str]:
    return [line[:120] for line in lines]


# --- scenes ---------------------------------------------------------------------------------------------------------


def scene(world: World, told: Story, number: int, rng: Random) -> SceneDraft:
    """A scene that keeps its beat; the action says the beat's event."""
    beat = told.beats[number - 1]
    main, _, call = beat.event.partition(": ")
    detail = rng.choice(DETAILS)
    action = f"{main} {detail}".strip() + (f": {told.call_to_action}" if call else "")
    shown = [
        entity.handle
        for entity in world.entities
        if entity.role != "character" or entity.name in action or rng.random() < 0.1
    ]
    return SceneDraft(
        setting=beat.setting,
        action=action,
        camera=rng.choice(CAMERAS[beat.purpose.split(" + ")[-1]]),
        entities=tuple(shown),
    )


def spoiled_scene(world: World, draft: SceneDraft, told: Story, number: int, rng: Random) -> SceneDraft:
    """The scene with one or two defects."""
    others = [beat.event.split(": ")[0] for n, beat in enumerate(told.beats, start=1) if n != number]
    changes: dict[str, dict[str, object]] = {
        "product": {"action": draft.action.replace(world.product.name, other_product(world, rng))},
        "setting": {"setting": other_place(world, rng)},
        "event": {"action": rng.choice(others) if others else draft.action},
        "call": {"action": draft.action.split(": ")[0]},
        "handle": {"entities": tuple(h for h in draft.entities if h != "product") or ("style-1",)},
    }
    kinds = ["product", "setting", "setting", "event"]
    kinds += ["call", "call"] if number == len(told.beats) else []
    for kind in rng.sample(kinds, rng.choice((1, 1, 2))):
        draft = draft.model_copy(update=changes[kind])
    return draft


def scene_critique(world: World, told: Story, number: int, draft: SceneDraft) -> CritiqueAnswer:
    name, beat = world.product.name, told.beats[number - 1]
    absent = not names_product(draft.action, world.product)
    away = not keeps_setting(draft, beat)
    main = beat.event.split(": ")[0]
    other = not absent and not keeps_event(draft, beat, world.product)
    silent = number == len(told.beats) and not calls_to_action(draft.action)
    fixes, score = [], 90 + number % 5
    if absent:
        fixes.append(f"Show the {name}.")
        score -= 40
    if away:
        fixes.append(f"Set the scene {beat.setting}.")
        score -= 26
    if silent:
        fixes.append(f"End with: {told.call_to_action}.")
        score -= 22
    if other:
        fixes.append(f"Keep the event: {main}.")
        score -= 18
    strengths = [] if absent else [f"The {name} is in the picture."]
    strengths += [] if away else ["The setting is kept."]
    problems = [
        text for text, found in (
            (f"the {name} is missing", absent), ("the setting is wrong", away),
            ("the call to action is missing", silent), ("the event is another one", other),
        ) if found
    ]  # fmt: skip
    return _critique("The scene does what its beat asks.", strengths, fixes, problems, score)


# --- cohesion -------------------------------------------------------------------------------------------------------


def pair(world: World, before: SceneDraft, after: SceneDraft) -> PairAnswer:
    """Settings, product and camera of two neighbours compared."""
    issues, wishes, score = [], [], 92
    planned = all(says(world.brief.prompt, one.setting) for one in (before, after))
    moved_on = not same_place(before.setting, after.setting)
    if moved_on and planned:
        score -= 10
    elif moved_on:
        issues.append("The setting changes.")
        wishes.append(f"Set the scene {before.setting}.")
        score -= 30
    if not names_product(after.action, world.product):
        issues.append(f"The {world.product.name} is missing.")
        wishes.append(f"Show the {world.product.name}.")
        score -= 26
    if (before.camera, after.camera) in OPPOSITE or (after.camera, before.camera) in OPPOSITE:
        issues.append("The camera turns against itself.")
        wishes.append("Use a static camera.")
        score -= 14
    return PairAnswer(issues=tuple(issues[:2]), recommendations=tuple(wishes[:2]), transition_score=score)


def overview(world: World, drafts: tuple[SceneDraft, ...]) -> OverviewAnswer:
    settings = [draft.setting for draft in drafts]
    away, absent = stray_beats(settings, world.brief), scenes_without_product(drafts, world.product)
    wishes = [f"Set scene {listed(away)} {_right_place(world, settings, away[0])}."] if away else []
    wishes += [f"Show the {world.product.name} in scene {listed(absent)}."] if absent else []
    return OverviewAnswer(
        global_issues=(f"The {world.product.name} is missing in scene {listed(absent)}.",) if absent else (),
        consistency_issues=(f"Scene {listed(away)} leaves the setting.",) if away else (),
        overall_recommendations=tuple(_fit(wishes)),
    )


def moved(draft: SceneDraft, camera: str) -> SceneDraft:
    return draft.model_copy(update={"camera": camera})


def seen_words(colour: str, material: str, shape: str) -> tuple[str, str]:
    """Name and description of a reference: one word for each thing, so that they can be learned and
    checked.
    """
    return shape, f"{colour} {material} {shape}"


__all__ = ["World", "imagine", "replace"]
