"""The rounds of peers.py: all contenders in turn, a probe around every round, and the lines made of them."""

import itertools
import math
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from batches import Batches, summarise
from peers_jobs import Job, JobError
from peers_settings import DEFAULT

MODES = ("fresh", "reused", "read")
DCOMP = ("dcomp", "dcomp_out", "dcomp_plan", "dcomp_chain")
BATCH_SECONDS = 2e-3  # of the median contender
FIRST_CALLS = 10  # in the first round, which only shows how long a call takes
FEWEST_CALLS, FEWEST_LARGE_CALLS = 3, 1
LARGE_FROM = 16 * 2**20  # a message that leaves no cache warm
MOST_CALLS = 2000
MOMENT = 1e-8  # seconds; less is an empty call
TRIES = 3  # for a batch that another program disturbs
PATIENCE = 4  # times the wanted time, for enough rounds in one state
FEWEST_ROUNDS = 4


@dataclass(frozen=True)
class Contender:
    """One column: a way of calling in one job."""

    job: Job
    kind: str

    @property
    def label(self) -> str:
        """As in the results."""
        return label_of(self.kind, self.job.mpi, self.job.settings)

    def is_untuned(self, mpi: str) -> bool:
        """Whether this is mpi4py on an MPI as it comes."""
        return self.kind == "mpi4py" and self.job.mpi == mpi and self.job.settings == DEFAULT


def label_of(kind: str, mpi: str, settings: str) -> str:
    """The name of a contender: dcomp@mpich, intel:heap, copyto."""
    if kind == "mpi4py":
        return f"{mpi}:{settings}"
    return f"{kind}@{mpi}" if kind in (*DCOMP, "numba_mpi") else kind


def prepare(jobs: list[Job], collective: str, size: int) -> tuple[list[Contender], list[str]]:
    """Make the arrays in all jobs; the contenders that have this collective and get it right, and
    complaints about those that get it wrong. A job that fails has a `failure` afterwards."""
    contenders, complaints = [], []
    for job in jobs:
        try:
            answers = job.ask("prepare", collective=collective, size=size)
        except JobError:
            continue
        for kind in answers[0]:
            contender = Contender(job, kind)
            if all(answer[kind] for answer in answers):
                contenders.append(contender)
            else:
                complaints.append(f"{contender.label}: wrong result")
    return contenders, complaints


def probe_state(job: Job) -> tuple[float, str | None]:
    """How far the cores are apart."""
    answer = job.ask("probe")[0]
    return answer["nanoseconds"], answer["state"]


def time_batch(contender: Contender, calls: int, mode: str) -> tuple[float, bool]:
    """Seconds per call on the slowest rank, and whether the batch was disturbed; NaN if the job failed."""
    try:
        answers = contender.job.ask("batch", contender=contender.kind, calls=calls, mode=mode)
    except JobError:
        return float("nan"), True
    return max(answer["seconds"] for answer in answers), any(answer["disturbed"] for answer in answers)


def time_undisturbed(contender: Contender, calls: int, mode: str) -> tuple[float, bool]:
    """As `time_batch`, but a batch that was disturbed is repeated, as waiting for the next round costs more."""
    for _ in range(TRIES):
        seconds, disturbed = time_batch(contender, calls, mode)
        if not disturbed or contender.job.failure:
            break
    return seconds, disturbed


def calls_per_batch(contenders: list[Contender], size: int, mode: str) -> int:
    """One number for all: in a longer batch the first calls, which find cold caches, would weigh less."""
    is_large = size >= LARGE_FROM
    timed = [time_batch(contender, 1 if is_large else FIRST_CALLS, mode)[0] for contender in contenders]
    valid = [seconds for seconds in timed if not math.isnan(seconds)]
    if not valid:
        return 1
    median = max(statistics.median(valid), MOMENT)
    fewest = FEWEST_LARGE_CALLS if is_large else FEWEST_CALLS
    return min(MOST_CALLS, max(fewest, round(BATCH_SECONDS / median)))


def measure(
    probe: Job, contenders: list[Contender], size: int, mode: str, min_time: float, min_rounds: int
) -> dict[Contender, Batches]:
    """Time all contenders in turn, every round in another order.

    A round whose state changed is dropped as a whole, so rounds go on until each contender has `min_rounds` in one
    state, but not beyond `PATIENCE` times `min_time`.
    """
    order = [contender for contender in contenders if mode != "read" or contender.kind != "c"]
    calls = calls_per_batch(order, size, mode)
    result = {contender: Batches(calls) for contender in order}
    begin = time.monotonic()
    before = probe_state(probe)
    shuffle = random.Random(0)  # any fixed order gives a contender the same predecessor, and its caches
    for rounds in itertools.count(1):
        shuffle.shuffle(order)
        timed = {contender: time_undisturbed(contender, calls, mode) for contender in order}
        after = probe_state(probe)
        state = before[1] if before[1] == after[1] else None
        for contender, (seconds, disturbed) in timed.items():
            result[contender].seconds.append(seconds)
            result[contender].states.append(None if disturbed else state)
            result[contender].probes.append(after[0])
        before = after
        elapsed = time.monotonic() - begin
        is_late = elapsed >= PATIENCE * min_time and rounds >= FEWEST_ROUNDS
        if is_late or (elapsed >= min_time and fewest_in_one_state(result) >= min_rounds):
            break
    return result


def fewest_in_one_state(result: dict[Contender, Batches]) -> int:
    """How many batches every contender has at least, in the state in which there are most of them."""
    working = [batches.states for contender, batches in result.items() if not contender.job.failure]
    names = {state for states in working for state in states if state is not None}
    return max((min(states.count(name) for states in working) for name in names), default=0)


def records(batches: dict[Contender, Batches]) -> Iterator[dict]:
    """A record per contender and state: its times, and its ratios to the best tuned MPI and to its own MPI untuned."""
    for state in sorted({state for one in batches.values() for state in one.states if state is not None}):
        medians = {
            contender: figures["median_us"]
            for contender, one in batches.items()
            if contender.kind == "mpi4py" and (figures := summarise(one, one, None, state))
        }
        best = min(medians, key=medians.get, default=None)
        for contender, one in batches.items():
            figures = summarise(one, batches[best] if best else one, None, state)
            if figures is None:
                continue
            if best is None:  # the ratio is one to itself
                figures = {key: value for key, value in figures.items() if not key.startswith("ratio")}
            untuned = next((other for other in medians if other.is_untuned(contender.job.mpi)), None)
            against = summarise(one, batches[untuned], None, state) if untuned else {}
            yield {
                "contender": contender.label,
                "kind": contender.kind,
                "on": contender.job.mpi,
                "settings": contender.job.settings,
                "state": state,
                "best": best.label if best else None,
                "ratio_untuned": against.get("ratio"),
                **figures,
            }
