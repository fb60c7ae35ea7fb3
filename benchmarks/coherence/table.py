"""The committed table as JSON and Markdown, the replication, and the defaults that follow by the plan's rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.coherence.controls import Control
from benchmarks.coherence.plan import Plan, plan_sha256
from configs.settings import load_model, load_profile
from models.spec import ImageModelSpec
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
        barred[chosen] = "the second set of stories does not agree in sign"
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

    found: dict[str, Callable[[], Any]] = {
        f"coherence.{field}": lambda field=field: getattr(CoherenceSettings(), field)  # type: ignore[misc]
        for field in CoherenceSettings.model_fields
    }
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
    """The results as plain data."""
    return {
        **about,
        "outcomes": {name: one.model_dump(exclude_none=True) for name, one in plan.outcomes.items()},
        "columns": ["mean", "difference", "low", "high", "holm", "d_z", "improved", "pairs", "word"],
        "knobs": {
            answer.question.name: {
                "primary": answer.question.primary,
                "base": {name: _round(means.get(BASE)) for name, means in answer.means.items()},
                "arms": {
                    arm: {one.outcome: _row(answer, one) for one in answer.findings if one.arm == arm}
                    for arm in answer.question.arms
                },
                "guards_crossed": {
                    arm: [check.guard.outcome.name for check in finding.compared.guards if check.holds is False]
                    for arm in answer.question.arms
                    if (finding := answer.finding(arm)) is not None
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


def _row(answer: Answer, one: Finding) -> list[Any]:
    found = one.compared.difference
    return [
        _round(answer.means[one.outcome].get(one.arm)), _round(found.mean), _round(found.low), _round(found.high),
        _round(one.compared.holm), _round(found.d_z), _round(found.improved), found.pairs, one.word,
    ]  # fmt: skip


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def as_markdown(results: Mapping[str, Any], plan: Plan) -> str:
    """The table for people, from the JSON."""
    replicated = results["replicated"]
    same = sum(replicated.values())
    lines = [
        "# What each knob of coherence does, on the sketch family",
        "",
        f"Made by `{results['command']}` on {results['device']}, {results['date']}, in {results['minutes']:.0f} "
        f"minutes: {results['stories']} stories of 4 scenes.",
        f"The plan was registered first: `benchmarks/coherence/plan.yaml`, sha256 `{results['plan_sha256'][:16]}`.",
        "",
        "Differences are paired by story, with 95 % BCa intervals over stories; p is Holm's over the arms of a knob.",
        "*bought*: better, but a guard is crossed; *null*: these runs cannot tell; *contrary*: to what was expected.",
        "",
        f"On the second set of stories {same} of the {len(replicated)} arms that were run again have the same sign.",
        "",
    ]
    for name, knob in results["knobs"].items():
        lines += [*_knob(name, knob, plan, replicated), "", *_notes(knob, results["defaults"].get(name))]
    lines += ["## Controls", "", *_row_of("control", "must", "found", ""), "|---|---|---|---|"]
    for one in results["controls"]:
        lines += _row_of(one["name"], one["must"], one["found"], _passed(one["passed"]))
    lines += ["", "## Not measured", ""]
    lines += [f"- `{name}`: {why}" for name, why in results["not_measured"].items()] or ["Nothing is missing."]
    return "\n".join([*lines, ""])


def _knob(name: str, knob: Mapping[str, Any], plan: Plan, replicated: Mapping[str, bool]) -> list[str]:
    """One knob's heading, question and rows."""
    asked, primary, start = plan.knobs[name], knob["primary"], knob["base"]
    guards = list(asked.guards)
    heads = ("arm", primary, "difference [95 %]", "d_z", "better", "p", *guards, "seconds", "again", "")
    today = _word(asked.base) if asked.path else "as the recipes"
    base = ("", "", "", "", *(_number(start.get(guard)) for guard in guards), _number(start.get(SECONDS)), "", "")
    lines = [f"## {name}", "", asked.asks, "", *_row_of(*heads), "|---" * len(heads) + "|"]
    lines += _row_of(f"base: {today}", _number(start.get(primary)), *base)
    for arm, rows in knob["arms"].items():
        label = arm.removeprefix(f"{name} ")
        if primary not in rows:
            lines += _row_of(label, "no pair with a value", *[""] * (len(heads) - 2))
            continue
        mean, difference, low, high, holm, d_z, improved, pairs, word = rows[primary]
        crossed = knob["guards_crossed"].get(arm, [])
        lines += _row_of(
            label,
            _number(mean),
            f"{signed(difference)} {'no interval' if low is None else f'[{signed(low)}, {signed(high)}]'}",
            _number(d_z),
            f"{improved:.0%} of {pairs}",
            _number(holm),
            *(_guard(rows.get(guard), guard in crossed) for guard in guards),
            _number(rows.get(SECONDS, [None])[0]),
            {True: "same sign", False: "**other sign**", None: ""}[replicated.get(arm)],
            f"*{word}*",
        )
    return lines


def _row_of(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


def _notes(knob: Mapping[str, Any], default: Mapping[str, Any] | None) -> list[str]:
    notes = [
        f"Together, {' and '.join(f'{path} = {level}' for path, level in one['levels'].items())}: "
        f"{signed(one['difference'])}"
        + ("" if one["low"] is None else f" [{signed(one['low'])}, {signed(one['high'])}]")
        + " beyond the sum of each alone."
        for one in knob["interactions"]
    ]
    notes += [f"{arm}: {one} and {other} disagree in sign." for arm, one, other in knob["observers_disagree"]]
    if default is not None:
        why = f"best {default['best']}" + (f", ties {', '.join(default['ties'])}" if default["ties"] else "")
        barred = "; ".join(f"{arm} {reason}" for arm, reason in default["barred"].items())
        notes.append(f"Default by the rule: **{default['arm']}** ({why}{'; ' + barred if barred else ''}).")
    return [*notes, ""] if notes else []


def _guard(row: Sequence[Any] | None, crossed: bool) -> str:
    if row is None:
        return "not measured"
    return f"{signed(row[1])}{' **crossed**' if crossed else ''}"


def _passed(passed: bool | None) -> str:
    return {True: "as it must", False: "**NOT**", None: "too few stories"}[passed]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".replace("-", "−")


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
