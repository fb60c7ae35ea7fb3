"""How a command that runs until it is told hears that it is told."""

import os
import signal
import sys

import pytest

from serving.server import stopping
from serving.server.stopping import Stop
from tests.support.program import Program

AGAIN = """
import time
from serving.server.stopping import Stop
stop = Stop()
stop.listen()
print("listening", flush=True)
stop.wait()
print("asked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which a suite that `nohup` runs has ignored
    yield Stop()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 0)])
def test_a_signal_asks_for_an_orderly_end(stop, number, code):
    stop.listen()
    os.kill(os.getpid(), number)
    assert stop.wait(60)
    assert stop.exit_code == code


def test_the_first_signal_decides_the_exit_code(stop):
    stop.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.exit_code == 0


def test_who_listens_late_is_told_of_what_came_before(stop):
    stop.ask(signal.SIGTERM)
    told = []
    stop.listen(lambda: told.append("stop"))
    assert told == ["stop"]


def test_a_signal_that_nohup_ignores_stays_ignored(stop):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop.listen()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.asked


def test_an_echo_of_ctrl_c_is_no_second_one(stop):
    stop.listen()
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)  # this process would have ended
    assert stop.exit_code == 130


def test_a_second_ctrl_c_ends_at_once():
    hurried = AGAIN.replace("stop = Stop()", "import serving.server.stopping as s; s.AGAIN_SECONDS = 0; stop = Stop()")
    with Program([sys.executable, "-c", hurried]) as program:
        program.until_says("listening")
        program.interrupt()
        program.until_says("asked")
        program.interrupt()
        assert program.end() == 130


def test_the_signals_are_given_back(stop):
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    stop.listen()
    stop.listen()
    stop.leave()
    assert {number: signal.getsignal(number) for number in stopping.SIGNALS} == before
