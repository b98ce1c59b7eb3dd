"""What is said of an interrupt: the same on all ranks that wait at the same line."""

import pytest

from dcomp._ends import _format

_HIT_IN_A_WAIT = """
import contextlib

@contextlib.contextmanager
def waiting():
    raise KeyboardInterrupt
    yield

def wait():
    try:
        raise StopIteration
    except StopIteration:
        with waiting():
            pass
"""


def _function(source: str, module: str, name: str):
    code: dict = {"__name__": module}
    exec(compile(source, f"{module}.py", "exec"), code)
    return code[name]


def _caught(function) -> str:
    with pytest.raises(KeyboardInterrupt) as caught:
        function()
    return _format(caught.value)


def test_where_in_dcomp_an_interrupt_hits_is_not_told():
    program = _function("def loop(wait):\n    wait()\n", "program", "loop")
    wait = _function(_HIT_IN_A_WAIT, "dcomp.engine.waiting", "wait")
    told = _caught(lambda: program(wait))
    assert told.count("Traceback") == 1
    assert told.splitlines()[-2:] == ['  File "program.py", line 2, in loop', "KeyboardInterrupt"]


def test_an_interrupt_elsewhere_is_told_whole():
    told = _caught(_function(_HIT_IN_A_WAIT, "program", "wait"))
    assert told.count("Traceback") == 2
    assert "StopIteration" in told and 'contextlib.py"' in told and "in waiting" in told
