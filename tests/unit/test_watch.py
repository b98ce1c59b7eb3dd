"""What is said of ranks, and the guard, with threads for ranks."""

import json
import os
import socket
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from dcomp import _guard, _link, _report, _watch
from dcomp._report import RankState, WaitState

HERE = "p.py:7 in main"


def wait(function="barrier", channel=1, call=3, peers=None, members=None, site=HERE, serial=1):
    return WaitState(serial, function, channel, "WORLD", call, peers, members, site)


def waits(call=3, **named):
    return RankState("n1", named.get("site", HERE), (wait(call=call, **named),), {1: call})


def at(site, calls):
    return RankState("n1", site, (), {1: calls})


# What is said


def test_missing_are_those_with_fewer_calls():
    states = {0: waits(), 1: at("p.py:9 in work", 2), 2: waits(), 3: at("p.py:8 in main", 3)}
    assert _report.are_missing(wait(), states) == [1]


def test_missing_are_those_who_have_left_if_no_one_has_fewer_calls():
    states = {0: waits(), 1: at("p.py:9 in work", 3), 2: waits()}
    assert _report.are_missing(wait(), states) == [1]


def test_silent_ranks_are_missing():
    states = {0: waits(), 1: RankState(silence="does not answer")}
    assert _report.are_missing(wait(), states) == [1]


def test_missing_of_a_message_are_those_named():
    states = {rank: at(HERE, 0) for rank in range(4)}
    assert _report.are_missing(wait("recv", peers=(2,)), states) == [2]


def test_missing_of_a_part_are_of_that_part():
    states = {0: at(HERE, 0), 1: waits(call=1), 2: at(HERE, 0), 3: at(HERE, 0)}
    assert _report.are_missing(wait(call=1, members=(1, 3)), states) == [3]


def test_report_folds_equal_lines():
    states = {0: waits(), 1: waits(), 2: at("p.py:9 in work", 2), 3: waits(), 4: RankState(ended=True, calls={1: 1})}
    assert _report.wait_report(wait(), states) == (
        "barrier: ranks 2, 4 of 5 are missing on WORLD. Where the ranks are:\n"
        "  ranks 0, 1, 3: waiting in barrier on WORLD at p.py:7 in main\n"
        "  rank 2: at p.py:9 in work; has made 2 of 3 collective calls on WORLD\n"
        "  rank 4: the program has ended; has made 1 of 3 collective calls on WORLD"
    )


def test_a_wait_in_a_call_that_is_inside_mpi_is_told_once():
    state = RankState("n1", HERE, (wait(serial=1), wait(serial=2)), {1: 3})
    assert _report.positions({0: state}) == "  rank 0: waiting in barrier on WORLD at p.py:7 in main"


def test_report_when_all_have_come():
    states = {0: waits(), 1: waits()}
    assert _report.wait_report(wait(), states).startswith("barrier: all ranks have come, and the data is under way")


def test_position_of_a_thread_that_waits_beside_the_main_one():
    state = RankState("n1", "p.py:3 in main", (wait(site="t.py:5 in run"),), {1: 3})
    assert _report.positions({0: state}) == (
        "  rank 0: at p.py:3 in main; waiting in barrier on WORLD at t.py:5 in run"
    )


@pytest.mark.parametrize(
    ("state", "waiting", "long", "hopeless"),
    [
        (RankState(ended=True, calls={1: 2}), wait(), False, True),  # it never made call 3
        (RankState(ended=True, calls={1: 3}), wait(), False, False),  # it did; the data may be under way
        (RankState(ended=True, calls={1: 3}), wait(), True, False),  # another rank may still send
        (RankState(ended=True), wait("recv", peers=(1,)), False, False),  # what it sent may be under way
        (RankState(ended=True), wait("recv", peers=(1,)), True, True),
        (at(HERE, 2), wait("recv", peers=(1,)), True, False),
        (at(HERE, 2), wait(), True, False),
    ],
)
def test_is_hopeless(state, waiting, long, hopeless):
    states = {0: waits(), 1: state, 2: at(HERE, 3)}
    assert _report.is_hopeless(waiting, 0, states, long) == hopeless


def test_waiting_for_anyone_is_hopeless_when_all_others_have_ended():
    ended = RankState(ended=True, calls={1: 3})
    assert _report.is_hopeless(wait("recv"), 0, {0: waits(), 1: ended, 2: ended}, True)
    assert not _report.is_hopeless(wait("recv"), 0, {0: waits(), 1: ended, 2: at(HERE, 3)}, True)


def test_fold():
    text = _report.fold({0: "A\n", 1: "B\n", 2: "A\n"}, 4, {0: "n1", 1: "n2", 2: "n2"})
    assert text == "[ranks 0, 2 of 4 on n1, n2] A\n[rank 1 of 4 on n2] B\n"


def test_fold_of_very_many_kinds_is_short():
    text = _report.fold({rank: f"kind {rank}" for rank in range(100)}, 100, {})
    assert len(text.splitlines()) == 9
    assert text.splitlines()[-1] == "[ranks 8-99 of 100] failed too, each in another way"


# Where a thread is


def test_position_is_the_programs_own_line():
    def work(ready):
        ready.set()
        threading.Event().wait(5)  # in threading.py, which says little

    ready = threading.Event()
    thread = threading.Thread(target=work, args=(ready,), daemon=True)
    thread.start()
    ready.wait()
    time.sleep(0.05)
    place = _watch.position(sys._current_frames()[thread.ident])
    assert place == f"{__file__}:{work.__code__.co_firstlineno + 2} in work"


def test_position_without_a_frame():
    assert _watch.position(None) == "no line of the program"


def test_wait_is_told_in_ranks_of_the_world(monkeypatch):
    monkeypatch.setattr(_watch, "_size", 8)
    channel = SimpleNamespace(calls=5, id=9, name="part", members=(4, 6), rank=1)
    with _watch.waiting(channel, "recv", (0,)) as this_wait:
        assert this_wait in _watch._waits
        told = this_wait.tell(sys._current_frames())
    assert this_wait not in _watch._waits
    assert (told["peers"], told["members"], told["call"]) == ([4], (4, 6), 5)
    assert told["site"].startswith(__file__)


def test_report_without_a_guard_knows_this_rank():
    channel = SimpleNamespace(calls=5, id=9, name="part", members=(4, 6), rank=1)
    text = _watch.report(_watch.Wait(channel, "barrier", None))
    assert text.startswith("barrier: waiting on part; where others are cannot be told:\n  rank 6: waiting in barrier")


# The guard


class Rank:
    """What a rank is to the guard."""

    def __init__(self, port, rank, token="secret", place="elsewhere"):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.file = self.socket.makefile("r")
        words = (rank, f"n{rank // 2}", place, 1000 + rank)
        self.say(
            **dict(zip(("hello", "node", "place", "pid"), words)),
            mac=_guard.prove(token, *words),
            signal=12,
            library=["/lib/"],
        )

    def say(self, **message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def hear(self):
        return json.loads(self.file.readline())

    def hear_until(self, word):
        while word not in (message := self.hear()):
            pass
        return message

    def die(self):
        self.file.close()
        self.socket.close()


class Job:
    """A guard of four ranks, in a thread, and what it prints."""

    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.printed = []
        self.thread = threading.Thread(target=_guard.Guard(listener, 4, "secret", "here", False, 0).run)
        self.ranks = []

    def rank(self, number, **named):
        self.ranks.append(Rank(self.port, number, **named))
        return self.ranks[-1]

    def all_ranks(self):
        """Four ranks that the guard knows."""
        ranks = [self.rank(number) for number in range(4)]
        for rank in ranks:
            rank.say(publish=f"{id(rank)}")
        while len(self.printed) < 4:
            time.sleep(0.001)
        self.printed.clear()
        return ranks

    def has_ended(self):
        self.thread.join(2)
        return not self.thread.is_alive()


@pytest.fixture
def late_job(monkeypatch):
    """One whose guard does not run yet."""
    this = Job()
    monkeypatch.setattr(_guard.Guard, "_print", lambda self, text: this.printed.append(text))
    return this


@pytest.fixture
def job(late_job):
    late_job.thread.start()
    yield late_job
    for rank in late_job.ranks:
        rank.die()
    assert late_job.has_ended()


def answer(rank, site, waiting=(), calls=None):
    number = rank.hear_until("state")["state"]
    rank.say(state={"site": site, "waits": list(waiting), "calls": calls or {}}, id=number)


def test_guard_ends_with_the_ranks(job):
    ranks = job.all_ranks()
    for rank in ranks:
        rank.say(ended=0, calls={})
    assert job.has_ended()
    assert job.printed == []


def test_guard_tells_of_the_first_death_only(job):
    ranks = job.all_ranks()
    ranks[2].socket.sendall(b"Fatal Python error: Segmentation fault\n\nExtension modules: many\n")
    ranks[2].die()
    assert ranks[0].hear_until("abort") == {"abort": 1}
    for rank in (0, 1, 3):
        ranks[rank].die()
    assert job.has_ended()
    assert job.printed == ["[rank 2 of 4 on n1] Fatal Python error: Segmentation fault\n"]


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (b"", "[ranks 0-3 of 4 on n0, n1] died: killed"),
        (b"Fatal Python error\n", "[rank 2 of 4 on n1] Fatal Python error"),
    ],
)
def test_guard_that_comes_up_late_blames_no_one(late_job, words, printed):
    """Ranks that have connected and gone before it runs; but one that has said something was the cause."""
    ranks = [late_job.rank(number) for number in range(4)]
    ranks[2].socket.sendall(words)
    for rank in ranks:
        rank.die()
    late_job.thread.start()
    assert late_job.has_ended()
    assert len(late_job.printed) == 1
    assert late_job.printed[0].startswith(printed)


def test_guard_folds_tracebacks_and_one_rank_aborts(job):
    ranks = job.all_ranks()
    for rank in (1, 2, 3):
        ranks[rank].say(failed="Traceback", status=7)
    assert ranks[0].hear() == {"flush": True}
    assert ranks[1].hear_until("abort") == {"abort": 7}
    assert job.printed == ["[ranks 1-3 of 4 on n0, n1] Traceback\n"]
    ranks[0].say(failed="later", status=1)
    assert ranks[0].hear_until("printed") == {"printed": True}
    assert len(job.printed) == 1


def test_guard_prints_tracebacks_of_ranks_that_are_killed_at_once(job):
    ranks = job.all_ranks()
    ranks[1].say(failed="Traceback", status=1)
    for rank in ranks:
        rank.hear_until("flush")
        rank.die()
    assert job.has_ended()
    assert job.printed == ["[rank 1 of 4 on n0] Traceback\n"]


def test_guard_answers_with_what_all_ranks_say(job):
    ranks = [job.rank(rank) for rank in range(3)]
    waiting = {**wait().__dict__}
    ranks[0].say(report=waiting, id=5)
    answer(ranks[0], HERE, [waiting], {1: 3})
    answer(ranks[1], "p.py:9 in work", calls={1: 2})
    ranks[2].say(ended=0, calls={1: 3})
    told = ranks[0].hear_until("answer")
    assert told["id"] == 5
    assert told["answer"].startswith("barrier: ranks 1, 3 of 4 are missing on WORLD")
    assert "rank 1: at p.py:9 in work; has made 2 of 3 collective calls" in told["answer"]
    assert "rank 2: the program has ended" in told["answer"]
    assert "rank 3: cannot be asked: has no connection" in told["answer"]


STACK = b"""Stack (most recent call first):
  File "/lib/threading.py", line 320 in wait
  File "p.py", line 9 in work
  File "p.py", line 12 in <module>
"""


def test_guard_prods_who_does_not_answer(job, monkeypatch):
    """In compiled code a rank answers to the report signal only; those of other nodes cannot be sent one."""
    prodded = []
    monkeypatch.setattr(os, "kill", lambda *words: prodded.append(words))
    ranks = [job.rank(0), job.rank(1), *(job.rank(number, place="here") for number in (2, 3))]
    ranks[0].say(report={**wait().__dict__}, id=1)
    answer(ranks[0], HERE, [{**wait().__dict__}], {1: 3})
    ranks[2].hear_until("state")
    while len(prodded) < 2:
        time.sleep(0.01)
    ranks[2].socket.sendall(STACK)
    told = ranks[0].hear_until("answer")["answer"]
    assert sorted(prodded) == [(1002, 12), (1003, 12)]
    assert told.startswith("barrier: ranks 1-3 of 4 are missing")
    assert "ranks 1, 3: does not answer" in told
    assert "rank 2: in compiled code that keeps the GIL, called at p.py:9 in work" in told
    ranks[3].socket.sendall(STACK)  # late, as of a process that was stopped: still the answer, and no request
    ranks[0].say(publish="the last")
    while not job.printed:
        time.sleep(0.01)
    assert job.printed == ["the last\n"]


def test_guard_reports_when_a_rank_gets_the_signal(job):
    ranks = job.all_ranks()
    ranks[1].socket.sendall(STACK)
    ranks[3].socket.sendall(STACK)  # the launcher sends it to several
    for number, rank in enumerate(ranks):
        answer(rank, f"p.py:{min(number, 2)} in main")
    while not job.printed:
        time.sleep(0.01)
    assert job.printed == [
        "Where the 4 ranks are:\n"
        "  rank 0: at p.py:0 in main\n  rank 1: at p.py:1 in main\n  ranks 2, 3: at p.py:2 in main\n"
    ]


def test_guard_prints_the_same_report_once(job):
    ranks = job.all_ranks()
    for rank in ranks:
        rank.say(publish="a report")
    ranks[0].say(publish="another")
    time.sleep(0.2)
    assert sorted(job.printed) == ["a report\n", "another\n"]


def test_guard_waits_for_ranks_that_come_to_their_end_too(job):
    ranks = job.all_ranks()
    ranks[0].say(ended=3, calls={})
    time.sleep(0.3)
    for rank in ranks[1:]:
        rank.say(ended=3, calls={})
    assert job.has_ended()
    assert job.printed == []


def test_guard_ends_the_job_if_they_do_not(job):
    ranks = job.all_ranks()
    ranks[2].say(ended=3, calls={})
    assert ranks[0].hear_until("abort") == {"abort": 3}
    assert job.printed == ["[rank 2 of 4 on n1] sys.exit(3), while ranks 0, 1, 3 went on\n"]


@pytest.mark.parametrize("first", [b"hello\n", b"[1]\n", b'{"hello": 1}\n', b"x" * 5000], ids=repr)
def test_guard_shuts_out_strangers(job, first):
    with socket.create_connection(("127.0.0.1", job.port), 5) as stranger:
        stranger.sendall(first)
        assert stranger.recv(1) == b""
    forged = job.rank(1, token="guessed")
    assert forged.file.readline() == ""
    real = job.rank(1)
    real.say(publish="real")
    time.sleep(0.1)
    assert job.printed == ["real\n"]
    assert job.thread.is_alive()


def test_addresses_are_those_of_other_machines():
    assert all(not address.startswith("127.") for address in _link._addresses())
