"""Arms that Optuna asks for, one after the other, by what the arms before reached.

Nothing of the search is stored: the same seed and the same results give the same arms, and results are rows of the
sweep, so that a search that was stopped finds its way again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Any

from pipelines.errors import BadInput
from pipelines.lab.arms import Arm, changed
from pipelines.lab.runs import Runs
from pipelines.lab.spec import Knob, Range, Searched

STARTUP_TRIALS = 10
"""Arms drawn at random before the search follows what it found; Optuna's own default."""


def searched_arms(searched: Searched) -> Iterator[tuple[Arm, Callable[[Runs], None]]]:
    """Each arm, and what must be called with the table when its runs are finished, before the next arm is asked for.

    One objective is searched by TPE, several by NSGA-II. An arm in which a run has no value of an objective counts as
    failed. Raises BadInput without the extra `lab`.
    """
    try:
        import optuna
    except ImportError:
        raise BadInput("it needs Optuna: pip install 'admint[lab]', or draw the arms with arms.random", "arms.optuna") \
            from None  # fmt: skip
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    goals = {"higher": "maximize", "lower": "minimize"}
    several = len(searched.objectives) > 1
    sampler = (
        optuna.samplers.NSGAIISampler(seed=searched.seed, population_size=STARTUP_TRIALS)
        if several
        else optuna.samplers.TPESampler(seed=searched.seed, n_startup_trials=STARTUP_TRIALS)
    )
    study = optuna.create_study(directions=[goals[goal] for goal in searched.objectives.values()], sampler=sampler)
    space = {path: _distribution(optuna, knob) for path, knob in searched.knobs.items()}
    for _ in range(searched.trials):
        trial = study.ask(space)
        arm = changed({path: _value(knob, trial.params[path]) for path, knob in searched.knobs.items()})

        def tell(runs: Runs, trial: Any = trial, arm: Arm = arm) -> None:
            reached = [_mean(runs, arm.name, outcome) for outcome in searched.objectives]
            if any(value is None for value in reached):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, reached)

        yield arm, tell


def _distribution(optuna: Any, knob: Knob) -> Any:
    if not isinstance(knob, Range):
        return optuna.distributions.CategoricalDistribution(list(range(len(knob))))
    kind = optuna.distributions.IntDistribution if knob.integer else optuna.distributions.FloatDistribution
    ends = (int(knob.low), int(knob.high)) if knob.integer else (knob.low, knob.high)
    return kind(*ends, log=knob.log)


def _value(knob: Knob, drawn: Any) -> Any:
    """A drawn number as a setting, to four significant digits; of a list, the value at that place."""
    if not isinstance(knob, Range):
        return knob[drawn]
    return drawn if knob.integer else min(knob.high, max(knob.low, float(f"{drawn:.4g}")))


def _mean(runs: Runs, arm: str, outcome: str) -> float | None:
    """The mean over stories and seeds; None where a run has no value."""
    values = [value for (name, _, _), value in runs.values(outcome).items() if name == arm]
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
