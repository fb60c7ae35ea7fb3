"""The committed table as JSON and Markdown, the replication, and the defaults that follow by the plan's rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.coherence.controls import Control
from benchmarks.coherence.plan import Plan, plan_sha256
from configs.settings import load_model, load_profile, load_recipe
from models.spec import ImageModelSpec, VideoModelSpec
from pipelines.coherence import CoherenceSettings
from pipelines.lab.analysis import SECONDS, Answer, Finding, columns, signed
from pipelines.lab.runs import Runs
from pipelines.lab.spec import BASE
from quality.paired import Outcome, estimate

COSTS_ALIKE = 0.05
"""Share by which the seconds of two arms may differ and count as equal."""
DECIDED = ("gain", "bought", "loss", "contrary")


@dataclass(frozen=True)
class Choice:
    """The default of a knob that follows from its answer, and why."""

    arm: str
    settings: Mapping[str, Any]
    """What it sets otherwise than the base, by path."""
    best: str
    """The allowed arm with the best mean of the primary outcome."""
    ties: tuple[str, ...]
    """Allowed arms that cannot be told from it."""
    barred: Mapping[str, str]
    """Arms that are out, and why."""


def choose(runs: Runs, answer: Answer, plan: Plan, agreed: Mapping[str, bool]) -> Choice:
    """The default by the plan's rule. `agreed`: whether the second set of stories has the same sign, by arm."""
    question = answer.question
    found = columns(runs, plan.better())
    primary, cost = found[question.primary], found[SECONDS]
    barred = {}
    for arm in question.arms:
        finding = answer.finding(arm)
        if finding is None:
            barred[arm] = f"{question.primary} was not measured"
        elif unkept := [check for check in finding.compared.guards if not check.holds]:
            crossed = [check.guard.outcome.name for check in unkept if check.holds is False]
            barred[arm] = f"crosses {', '.join(crossed)}" if crossed else "too few stories to tell of its guards"
    allowed = [BASE, *(arm for arm in question.arms if arm not in barred)]
    means, sign = answer.means[question.primary], 1 if primary.better == "higher" else -1
    best = max(allowed, key=lambda arm: (sign * means[arm], arm == BASE))
    ties = tuple(arm for arm in allowed if arm != best and _tied(primary, arm, best))
    cheapest = min(cost.mean(arm) for arm in (best, *ties))
    equals = [arm for arm in allowed if arm in (best, *ties) and cost.mean(arm) <= cheapest * (1 + COSTS_ALIKE)]
    chosen = equals[0]
    if chosen != BASE and not agreed.get(chosen, False):
        barred[chosen] = (
            "the second set of stories does not agree in sign"
            if chosen in agreed
            else "it costs less and cannot be told from the best, but was not run on the second set of stories"
        )
        chosen = BASE
    knob = plan.knobs[question.name]
    settings = {} if chosen == BASE else knob.changes(chosen.removeprefix(f"{question.name} "))
    return Choice(chosen, settings, best, ties, barred)


def parted(results: Mapping[str, Any], plan: Plan) -> list[str]:
    """Knobs whose default in the code is not the one that follows from the table, each with both."""
    told = []
    for name, choice in results["defaults"].items():
        knob = plan.knobs[name]
        wanted = choice["settings"] or ({knob.path: knob.base} if knob.path in DEFAULTS else {})
        for path, value in wanted.items():
            if path in DEFAULTS and DEFAULTS[path]() != value:
                told.append(f"{name}: the table says {path} = {value!r}, the code has {DEFAULTS[path]()!r}")
    return told


def problems(results: Mapping[str, Any], page: str, plan: Plan) -> list[str]:
    """Why committed results are not to be believed, or not what the code does; none when all is well."""
    told = [] if results["plan_sha256"] == plan_sha256() else ["they were made by another plan: make coherence"]
    told += [] if results["stories"] == plan.stories else [f"they are of {results['stories']} stories: make coherence"]
    told += [f"control {one['name']}: {one['found']}" for one in results["controls"] if one["passed"] is not True]
    told += [f"{results['failed']} runs failed"] if results["failed"] else []
    told += [] if page == as_markdown(results, plan) else ["coherence.md is not the page of coherence.json"]
    return [*told, *parted(results, plan)]


def _today() -> dict[str, Callable[[], Any]]:
    def sketch() -> ImageModelSpec:
        return load_model(load_profile("sketch").image, ImageModelSpec)

    def clips() -> VideoModelSpec:
        return load_model(load_profile("sketch").video, VideoModelSpec)

    found: dict[str, Callable[[], Any]] = {
        f"coherence.{field}": lambda field=field: getattr(CoherenceSettings(), field)  # type: ignore[misc]
        for field in CoherenceSettings.model_fields
    }
    found["candidates.n"] = lambda: load_recipe("express").candidates.n
    found["candidates.rank"] = lambda: dict(load_recipe("express").candidates.rank)
    found["coherence.cond_lowpass_until"] = lambda: clips().cond_lowpass_until
    found["image.guidance_scale"] = lambda: sketch().guidance_scale
    found["image.num_inference_steps"] = lambda: sketch().num_inference_steps
    return found


DEFAULTS = _today()
"""What the code has today, by path: the recipes' coherence, and how the measured family samples."""


def _tied(primary: Outcome, arm: str, best: str) -> bool:
    difference = estimate(primary, {arm: 1.0, best: -1.0})
    return difference.low is None or difference.high is None or difference.low <= 0 <= difference.high


def to_replicate(answers: Sequence[Answer]) -> list[str]:
    """The arms whose interval in the primary outcome excludes 0."""
    return [
        finding.arm
        for answer in answers
        for finding in answer.findings
        if finding.outcome == answer.question.primary and finding.word in DECIDED
    ]


def agreement(answers: Sequence[Answer], second: Sequence[Answer]) -> dict[str, bool]:
    """By arm of the second set, whether the mean difference of the primary outcome has the same sign there."""
    agreed = {}
    for answer in answers:
        again = next((one for one in second if one.question.name == answer.question.name), None)
        for arm in answer.question.arms:
            one, other = answer.finding(arm), again.finding(arm) if again is not None else None
            if one is not None and other is not None:
                agreed[arm] = one.compared.difference.mean * other.compared.difference.mean > 0
    return agreed


def as_json(
    plan: Plan,
    answers: Sequence[Answer],
    agreed: Mapping[str, bool],
    choices: Mapping[str, Choice],
    controls: Sequence[Control],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """The results as plain data: of every knob the base's means and each arm's rows, in the order of `outcomes`."""
    outcomes = list(dict.fromkeys(name for answer in answers for name in answer.means))
    return {
        **about,
        "outcomes": outcomes,
        "columns": ["mean", "difference", "low", "high", "pairs", "word"],
        "of_the_primary": ["holm", "d_z", "improved"],
        "knobs": {
            answer.question.name: {
                "primary": answer.question.primary,
                "base": [_round(answer.means.get(name, {}).get(BASE)) for name in outcomes],
                "arms": {
                    arm: [_row(answer, answer.finding(arm, name)) for name in outcomes] for arm in answer.question.arms
                },
                "of_the_primary": {
                    arm: [_round(one.compared.holm), _round(one.compared.difference.d_z),
                          _round(one.compared.difference.improved)]
                    for arm in answer.question.arms if (one := answer.finding(arm)) is not None
                },
                "guards_crossed": {
                    arm: crossed
                    for arm in answer.question.arms
                    if (one := answer.finding(arm)) is not None and (crossed := _crossed(one))
                },
                "interactions": [
                    {"levels": dict(one.levels), "difference": _round(one.difference.mean),
                     "low": _round(one.difference.low), "high": _round(one.difference.high)}
                    for one in answer.interactions
                ],
                "dominated": {arm: list(by) for arm, by in answer.dominated.items() if by},
                "observers_disagree": [list(one) for one in answer.disagreements],
            }
            for answer in answers
        },
        "replicated": dict(agreed),
        "controls": [asdict(control) for control in controls],
        "defaults": {name: asdict(choice) for name, choice in choices.items()},
    }  # fmt: skip


def _row(answer: Answer, one: Finding | None) -> list[Any] | None:
    """One arm in one outcome; None where it was measured in no pair."""
    if one is None:
        return None
    found = one.compared.difference
    mean = answer.means[one.outcome].get(one.arm)
    return [_round(mean), _round(found.mean), _round(found.low), _round(found.high), found.pairs, one.word]


def _crossed(one: Finding) -> list[str]:
    return [check.guard.outcome.name for check in one.compared.guards if check.holds is False]


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


# --- for people ---


def as_markdown(results: Mapping[str, Any], plan: Plan) -> str:
    """The table for people, from the JSON."""
    knobs = [Shown(results, plan, name) for name in results["knobs"]]
    lines = [
        "# What each knob of coherence does, on the sketch family",
        "",
        f"Made by `{results['command']}` on {results['device']}, {results['date']}, in {results['minutes']:.0f} "
        f"minutes: {results['stories']} stories of 4 scenes, each made once in every arm from the same seed.",
        "What was asked and what was expected was written down before: `benchmarks/coherence/plan.yaml`, sha256 "
        f"`{results['plan_sha256'][:16]}`.",
        "",
        "The sketch family draws a toy world. What a knob does to it says which knobs are worth a sweep with your own "
        "model, not what they do there: `admint sweep` (docs/lab.md) says that.",
        "",
        "## In short",
        "",
        *_counts(results, knobs),
        "",
        *(line for knob in knobs for line in knob.sentences()),
        "",
        "*gain*: better than the base by more than chance (95 %, corrected over the arms of the knob), and every guard "
        "holds with its whole interval; *bought*: better, but a guard is crossed or not sure to hold; *loss*: worse; "
        "*contrary*: sure, and the opposite of what was expected; *null*: these runs cannot tell. Numbers in brackets "
        "are 95 % intervals over stories.",
        "",
        "## Can it be believed",
        "",
        *_replication(results["replicated"]),
        "",
        *_row_of("control", "must", "found", ""),
        "|---|---|---|---|",
        *(line for one in results["controls"]
          for line in _row_of(one["name"], one["must"], one["found"].replace("-0.", "−0."), _passed(one["passed"]))),
        "",
        *([f"{results['failed']} runs failed.", ""] if results["failed"] else []),
        f"*How a default follows*, as written before: {' '.join(plan.rule.split())}",
        "",
    ]  # fmt: skip
    for knob in knobs:
        lines += [*knob.table(), ""]
    lines += ["## What was measured", "", *_row_of("outcome", "better", "what it is", "by"), "|---|---|---|---|"]
    for name in results["outcomes"]:
        if name in plan.outcomes:
            lines += _row_of(f"`{name}`", plan.outcomes[name].better, plan.outcomes[name].means,
                             results["measured_by"].get(name, ""))  # fmt: skip
    lines += ["", "Not measured:" if results["not_measured"] else "Everything that was planned was measured."]
    lines += [f"- `{name}`: {why}" for name, why in results["not_measured"].items()]
    lines += ["", f"Seconds of each part: {', '.join(f'{part} {s:.0f}' for part, s in results['seconds'].items())}."]
    return "\n".join([*lines, ""])


class Shown:
    """One knob of the results, in words and as a table."""

    def __init__(self, results: Mapping[str, Any], plan: Plan, name: str) -> None:
        self.name = name
        self.results = results
        self.planned = plan.knobs[name]
        self.found = results["knobs"][name]
        self.primary: str = self.found["primary"]
        self.better = plan.outcomes[self.primary].better
        self.labels = {plan.arm(name, label): label for label in self.planned.arms}
        self.crossed = self.planned.cross is not None and self.planned.levels is not None
        levels = self.planned.levels or ()
        self.today = ", ".join(_word(level[0]) for level in levels) if self.crossed else _word(self.planned.base)

    def row(self, arm: str, outcome: str) -> list[Any] | None:
        """As `_row`."""
        known = outcome in self.results["outcomes"]
        place = self.results["outcomes"].index(outcome) if known else 0
        row: list[Any] | None = self.found["arms"][arm][place] if known else None
        return row

    def base(self, outcome: str) -> float | None:
        known = outcome in self.results["outcomes"]
        mean: float | None = self.found["base"][self.results["outcomes"].index(outcome)] if known else None
        return mean

    # --- in words ---

    def sentences(self) -> list[str]:
        """What was found, in a line, and the default that follows in another."""
        told: dict[str, list[str]] = {}
        for arm, label in self.labels.items():
            if arm in self.results["refused"]:
                told.setdefault("refused", []).append(f"`{label}`")
                continue
            row = self.row(arm, self.primary) if arm in self.found["arms"] else None
            if row is None or row[-1] == "null":
                told.setdefault("null", []).append(f"`{label}`")
            else:
                again = {True: ", again in the second set", False: ", **not** in the second set", None: ""}
                said = f"{_difference(row)} *{row[-1]}*{again[self.results['replicated'].get(arm)]}"
                if any(one == arm and name == self.primary for one, name, _ in self.found["observers_disagree"]):
                    said += ", **and the second observer sees the opposite**"
                told.setdefault("sure", []).append(f"`{label}` {said}")
        parts = ["; ".join(told["sure"])] if "sure" in told else []
        parts += [f"{', '.join(told['null'])}: no difference that these runs can tell"] if "null" in told else []
        parts += [f"{', '.join(told['refused'])}: cannot be made"] if "refused" in told else []
        base = f"`{self.primary}` is {_number(self.base(self.primary))} at the base ({self.today})"
        return [f"- **{self.name}**. {self.planned.asks} {base}. {_sentence('; '.join(parts))} {self.default()}"]

    def default(self) -> str:
        """The default that follows by the rule, and why."""
        choice = self.results["defaults"].get(self.name)
        if choice is None:
            return ""

        def short(arm: str) -> str:
            return f"`{self.labels[arm]}`" if arm in self.labels else f"the base ({self.today})"

        chosen, best, barred = choice["arm"], choice["best"], choice["barred"]
        word = "stays" if chosen == BASE else "by the rule is"
        if chosen == best:
            why = "the best mean of those that keep every guard"
        elif best in barred:
            why = f"{short(best)} has the best mean, but {barred[best]}"
        else:
            why = f"{short(best)} has the best mean, cannot be told from it and costs no less"
        return f"The default {word} {short(chosen)}: {why}."

    # --- as a table ---

    def table(self) -> list[str]:
        guards = list(self.planned.guards)
        guarded = (f"{guard} (guard {_bound(bound)})" for guard, bound in self.planned.guards.items())
        heads = (
            "arm", "expected", self.primary, "difference [95 %]", "d_z", "better in", "p", *guarded, "seconds",
            "second set", "",
        )  # fmt: skip
        base = (*(_number(self.base(guard)) for guard in guards), _number(self.base(SECONDS)), "", "")
        paths = " and ".join(f"`{path}`" for path in self._paths())
        lines = [f"## {self.name}", "", f"{self.planned.asks} The arms set {paths}.", ""]
        lines += [*_row_of(*heads), "|---" * len(heads) + "|"]
        lines += _row_of(f"base: {self.today}", "", _number(self.base(self.primary)), "", "", "", "", *base)
        for arm, label in self.labels.items():
            lines += self._arm(arm, label, len(heads))
        return [*lines, "", *self._notes(), *self._others()]

    def _paths(self) -> list[str]:
        return list(dict.fromkeys(path for label in self.planned.arms for path in self.planned.changes(label)))

    def _arm(self, arm: str, label: str, width: int) -> list[str]:
        expected = self.planned.arms[label].replace("-", "−")
        if arm in self.results["refused"]:
            return _row_of(label, expected, f"cannot be made: {self.results['refused'][arm]}", *[""] * (width - 3))
        row = self.row(arm, self.primary) if arm in self.found["arms"] else None
        if row is None:
            return _row_of(label, expected, "no pair with a value", *[""] * (width - 3))
        mean, *_, pairs, word = row
        holm, d_z, improved = self.found["of_the_primary"][arm]
        crossed, cost = self.found["guards_crossed"].get(arm, []), self.row(arm, SECONDS)
        return _row_of(
            label,
            expected,
            _number(mean),
            _difference(row),
            _number(d_z),
            f"{improved:.0%} of {pairs}",
            "" if holm is None else "< 0.001" if holm < 0.001 else _number(holm),
            *(self._guard(arm, guard, guard in crossed) for guard in self.planned.guards),
            "" if cost is None else _number(cost[0]),
            {True: "same sign", False: "**other sign**", None: ""}[self.results["replicated"].get(arm)],
            f"*{word}*",
        )

    def _guard(self, arm: str, guard: str, crossed: bool) -> str:
        row = self.row(arm, guard)
        return "not measured" if row is None else f"{signed(row[1])}{' **crossed**' if crossed else ''}"

    def _notes(self) -> list[str]:
        notes = [
            f"Together, {' and '.join(f'{path} = {level}' for path, level in one['levels'].items())}: "
            f"{signed(one['difference'])}"
            + ("" if one["low"] is None else f" [{signed(one['low'])}, {signed(one['high'])}]")
            + " beyond the sum of each alone."
            for one in self.found["interactions"]
        ]
        for arm, one, other in self.found["observers_disagree"]:
            told = " and ".join(f"`{name}` {_difference(self.row(arm, name) or [])}" for name in (one, other))
            notes.append(f"**The observers disagree** on {self.labels[arm]}: {told}.")
        out = self.results["defaults"].get(self.name, {"barred": {}})["barred"]
        notes += [f"{self.labels[arm]} cannot be the default: {reason}." for arm, reason in out.items()]
        return [line for note in [*notes, self.default()] if note for line in (note, "")]

    def _others(self) -> list[str]:
        """Every other outcome, folded: the difference to the base, bold where its interval excludes 0."""
        made = [arm for arm in self.labels if arm in self.found["arms"]]
        shown = {self.primary, SECONDS, *self.planned.guards}
        names = [name for name in self.results["outcomes"] if name not in shown]
        rows = {name: [self.row(arm, name) for arm in made] for name in names}
        if not any(row for own in rows.values() for row in own):
            return []
        heads = ("outcome", "base", *(self.labels[arm] for arm in made))
        lines = ["<details><summary>Every other outcome: the difference to the base, bold where it is sure</summary>"]
        lines += ["", *_row_of(*heads), "|---" * len(heads) + "|"]
        for name, own in rows.items():
            if any(own):
                lines += _row_of(f"`{name}`", _number(self.base(name)), *map(_cell, own))
        return [*lines, "", "</details>"]


def _counts(results: Mapping[str, Any], knobs: Sequence[Shown]) -> list[str]:
    """How many arms ended how."""
    words = [row[-1] for knob in knobs for arm in knob.found["arms"] if (row := knob.row(arm, knob.primary))]
    told = [f"{words.count(word)} *{word}*" for word in (*DECIDED, "null") if word in words]
    told += [f"{len(results['refused'])} refused by the model"] if results["refused"] else []
    return [f"Of {len(words) + len(results['refused'])} arms against their base: {', '.join(told)}."]


def _replication(replicated: Mapping[str, bool]) -> list[str]:
    if not replicated:
        return ["No arm differed from its base for sure, so none was run again on the second set of stories."]
    same, other = sum(replicated.values()), [arm for arm, agrees in replicated.items() if not agrees]
    told = f"{same} of the {len(replicated)} arms that differ for sure have the same sign on the second set of stories"
    return [f"{told}{'; not so ' + ', '.join(other) if other else ''}."]


def _row_of(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def _difference(row: Sequence[Any]) -> str:
    """`+0.030 [+0.020, +0.050]`."""
    _, difference, low, high, *_ = row
    return f"{signed(difference)} {'(no interval)' if low is None else f'[{signed(low)}, {signed(high)}]'}"


def _cell(row: Sequence[Any] | None) -> str:
    if row is None:
        return ""
    return signed(row[1]) if row[-1] == "null" else f"**{signed(row[1])}**"


def _passed(passed: bool | None) -> str:
    return {True: "as it must", False: "**NOT**", None: "too few stories"}[passed]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.{3 if abs(value) < 1 else 2 if abs(value) < 10 else 1}f}".replace("-", "−")


def _bound(bound: float | str) -> str:
    return (bound if isinstance(bound, str) else f"{bound:g}").replace("-", "−")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _word(value: Any) -> str:
    return "none" if value is None else "on" if value is True else "off" if value is False else str(value)
