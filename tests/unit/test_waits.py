"""No test waits without a deadline: one that hangs says what it waited for instead of holding up the suite."""

import ast
from pathlib import Path

import pytest

from tests.support.waiting import until

TESTS = Path(__file__).parents[1]
ENDLESS = ("acquire", "communicate", "join", "readline", "recv", "wait")
"""Methods that wait for ever when they are called without an argument."""
PROGRAMS = ("run", "check_call", "check_output")
"""Functions of `subprocess` that wait for ever without a `timeout`."""


def endless_waits(source: str) -> list[int]:
    """Lines of `source` with a wait that has no deadline and is no argument of `within`."""
    tree = ast.parse(source)
    bounded = {
        id(argument)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "within"
        for argument in call.args
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in bounded]
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.While)]
    found = [call.lineno for call in calls if waits_for_ever(call)]
    return sorted(found + [loop.lineno for loop in loops if polls(loop)])


def waits_for_ever(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    if isinstance(call.func.value, ast.Name) and call.func.value.id == "subprocess" and call.func.attr in PROGRAMS:
        return "timeout" not in [keyword.arg for keyword in call.keywords]
    return call.func.attr in ENDLESS and not call.args and not call.keywords


def polls(loop: ast.While) -> bool:
    """Whether it sleeps between two looks."""
    calls = [node for node in ast.walk(loop) if isinstance(node, ast.Call)]
    return any(ast.unparse(call.func).rpartition(".")[2] == "sleep" for call in calls)


def test_every_wait_in_the_tests_has_a_deadline():
    helpers = [TESTS / "support" / "waiting.py", Path(__file__)]
    found = {
        f"{path.relative_to(TESTS)}:{line}"
        for path in TESTS.rglob("*.py")
        if path not in helpers
        for line in endless_waits(path.read_text())
    }
    assert not found, "use tests.support.waiting or tests.support.program"


@pytest.mark.parametrize(
    "wait",
    ["process.communicate()", "thread.join()", "subprocess.run(['ls'])", "while busy():\n    time.sleep(1)"],
)
def test_a_wait_without_a_deadline_is_found(wait):
    assert endless_waits(wait) == [1]


@pytest.mark.parametrize("wait", ["process.communicate(timeout=9)", "','.join(parts)", "within(event.wait(), 'news')"])
def test_a_wait_with_one_is_not(wait):
    assert endless_waits(wait) == []


def test_a_wait_that_takes_too_long_says_what_it_waited_for():
    with pytest.raises(AssertionError, match="waited 0 s for a reply"):
        until(lambda: False, "a reply", seconds=0)
