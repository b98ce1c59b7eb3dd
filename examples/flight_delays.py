"""How late do flights arrive, and at what hour should one leave? A histogram and an exact parallel sort.

Each rank holds a block of the records. The mean delay of each hour is one `allreduce`. Percentiles want
the delays sorted: by sample sort, in which every rank sorts its block, all agree on values that cut the
whole into even parts, and one sparse `exchange` brings each part to its rank. `exscan` then tells each
rank at which place of the whole its part begins.

Data: data/flights.npz, 327 346 flights from New York in 2013 (data/README.md has source and licence).
Method: H. Shi and J. Schaeffer, Parallel sorting by regular sampling, J. Parallel Distrib. Comput. 14
(1992) 361-372.

    mpirun -n 4 python examples/flight_delays.py
"""

from pathlib import Path

import numpy as np

import dcomp as dc

FLIGHTS = Path(__file__).parent / "data" / "flights.npz"
RECORD = np.dtype([("hour", "u1"), ("delay", "<i2")])
PERCENTILES = (1, 10, 50, 90, 99)


def load_flights():
    """All records, in the order in which they were to leave."""
    with np.load(FLIGHTS) as data:
        records = np.empty(len(data["hour"]), RECORD)
        records["hour"], records["delay"] = data["hour"], data["delay"]
    return records


def mean_by_hour(records):
    """Mean delay in minutes of each hour of departure, over all ranks; NaN where nothing leaves."""
    totals = np.empty((2, 24))
    totals[0] = np.bincount(records["hour"], weights=records["delay"], minlength=24)
    totals[1] = np.bincount(records["hour"], minlength=24)
    dc.allreduce(totals, out=totals)
    return np.divide(totals[0], totals[1], out=np.full(24, np.nan), where=totals[1] > 0)


def sample_sort(values):
    """This rank's part of all values sorted: nothing on rank r is greater than anything on rank r + 1."""
    values = np.sort(values)
    samples = np.sort(dc.allgather(values[:: max(1, len(values) // (8 * dc.size))]))
    cuts = samples[len(samples) * np.arange(1, dc.size) // dc.size]
    parts = np.split(values, np.searchsorted(values, cuts))
    received = dc.exchange({rank: part for rank, part in enumerate(parts) if len(part)})
    return np.sort(np.concatenate(list(received.values()) or [values[:0]]))


def percentiles(part, total):
    """The values at PERCENTILES of the whole (the nearest below); each lies on one rank, found by its place."""
    first = dc.exscan(len(part))
    wanted = np.array(PERCENTILES) * (total - 1) // 100 - first
    here = (wanted >= 0) & (wanted < len(part))
    found = np.zeros(len(wanted), np.int64)
    found[here] = part[wanted[here]]
    return dc.allreduce(found)


def check(records, hourly, found, ordered):
    """Compare with NumPy on all records."""
    hours = np.unique(records["hour"])
    expected = [records["delay"][records["hour"] == hour].mean() for hour in hours]
    if not np.allclose(hourly[hours], expected) or np.isfinite(hourly).sum() != len(hours):
        raise SystemExit("flight_delays: FAILED: the mean delays differ from NumPy's")
    if not np.array_equal(ordered, np.sort(records["delay"])):
        raise SystemExit("flight_delays: FAILED: the delays are not sorted")
    if not np.array_equal(found, np.percentile(records["delay"], PERCENTILES, method="lower")):
        raise SystemExit("flight_delays: FAILED: the percentiles differ from NumPy's")


def main():
    records = load_flights() if dc.rank == 0 else None
    block = dc.scatter(records)
    hourly = mean_by_hour(block)
    part = sample_sort(block["delay"])
    found = percentiles(part, dc.allreduce(len(block)))
    sizes = dc.gather(len(part))
    ordered = dc.gather(part)
    if dc.rank != 0:
        return
    for hour in np.flatnonzero(np.isfinite(hourly)):
        print(f"{hour:2d}:00 {hourly[hour]:6.1f} min  " + "*" * round(max(0, 2 * hourly[hour])))
    for percent, minutes in zip(PERCENTILES, found, strict=True):
        print(f"{percent:2d} % of the flights arrive at most {minutes:4d} minutes late")
    print(f"{len(records)} records; after the sort the ranks hold {sizes.tolist()}")
    check(records, hourly, found, ordered)
    print(f"flight_delays: OK, means, order and percentiles on {dc.size} ranks are NumPy's")


if __name__ == "__main__":
    main()
