"""What was measured of a contender, and the figures made of it. Needs neither MPI nor dcomp."""

import math
import statistics
from dataclasses import dataclass, field

import numpy as np

MIN_BATCHES = 3  # fewer say nothing


@dataclass
class Batches:
    """What was measured of one contender: seconds per call, one entry per round; NaN where it was dropped."""

    calls: int  # in a batch
    seconds: list[float] = field(default_factory=list)
    states: list[str | None] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)

    def of(self, state: str) -> np.ndarray:
        """Seconds per call by round, NaN in the rounds in which this contender met another state."""
        return np.array([s if found == state else math.nan for s, found in zip(self.seconds, self.states)])

    @property
    def dropped(self) -> int:
        """Batches during which the state changed or was none that has a name, or another program ran."""
        return self.states.count(None)


def median_with_bounds(sample: np.ndarray) -> tuple[float, float, float]:
    """Median of `sample` and the order statistics that enclose the true median with 95 % confidence."""
    ordered = np.sort(sample)
    n = len(ordered)
    reach = 0.98 * math.sqrt(n)
    low = max(0, math.floor((n - 1) / 2 - reach))
    high = min(n - 1, math.ceil((n - 1) / 2 + reach))
    return float(np.median(ordered)), float(ordered[low]), float(ordered[high])


def summarise(batches: Batches, baseline: Batches, unit: Batches | None, state: str) -> dict | None:
    """The figures of one contender in one state: times in microseconds, ratios to the baseline.

    Ratios are formed round by round, so that a drift of the machine cancels, and then their median is taken.
    `excess` is the time beyond the baseline's, in units of `unit`'s.
    """
    seconds = batches.of(state)
    valid = seconds[~np.isnan(seconds)]
    if len(valid) < MIN_BATCHES:
        return None
    median, low, high = median_with_bounds(valid * 1e6)
    probes = [p for p, found in zip(batches.probes, batches.states) if found == state]
    probe_ns = statistics.median(probes)
    figures = {
        "median_us": median,
        "low_us": low,
        "high_us": high,
        "best_us": float(valid.min() * 1e6),
        "batches": len(valid),
        "calls_per_batch": batches.calls,
        "dropped": batches.dropped,
        "probe_ns": None if math.isnan(probe_ns) else probe_ns,
    }
    against = baseline.of(state)
    ratios = seconds / against
    pairs = ~np.isnan(ratios)
    figures["pairs"] = int(pairs.sum())
    if figures["pairs"] >= MIN_BATCHES:
        figures["ratio"], figures["ratio_low"], figures["ratio_high"] = median_with_bounds(ratios[pairs])
        figures["baseline_us"] = float(np.median(against[pairs]) * 1e6)
    if unit is not None:
        of_unit = unit.of(state)
        excess = (seconds - against) / of_unit
        complete = ~np.isnan(excess)
        if complete.sum() >= MIN_BATCHES:
            figures["unit_us"] = float(np.median(of_unit[complete]) * 1e6)
            figures["excess"], figures["excess_low"], figures["excess_high"] = median_with_bounds(excess[complete])
    return figures
