"""Which airport of the United States is the hub? PageRank on the graph of routes.

Each rank owns a block of the airports and the routes that leave from them. One iteration sends the rank
of its airports along their routes, and one `reduce_scatter` adds up what arrives and brings every airport
its sum: no rank ever holds more than its block of the answer.

Data: data/routes.npz, 352 airports and 9161 routes (data/README.md has source and licence).
Method: L. Page, S. Brin, R. Motwani and T. Winograd, The PageRank citation ranking, Stanford 1999.

    mpirun -n 4 python examples/pagerank.py
"""

from pathlib import Path

import numpy as np

import dcomp as dc

ROUTES = Path(__file__).parent / "data" / "routes.npz"
DAMPING, TOLERANCE = 0.85, 1e-13


def scatter_routes(edges, n):
    """The routes that leave from this rank's block of the `n` airports; `edges` is needed on rank 0 only."""
    # The blocks of airports are even, their routes are not: `counts` says where to cut.
    ends, counts = dc.gather(dc.block(n).stop), None
    if dc.rank == 0:
        edges = edges[np.argsort(edges[:, 0], kind="stable")]
        counts = np.diff(np.searchsorted(edges[:, 0], ends), prepend=0)
    return dc.scatter(edges, counts=counts)


def pagerank(edges, n):
    """This rank's block of the PageRanks, and the number of iterations."""
    mine = dc.block(n)
    source, destination = edges[:, 0] - mine.start, edges[:, 1]
    degree = np.bincount(source, minlength=mine.stop - mine.start)
    ranks, change, iterations = np.full(len(degree), 1 / n), np.inf, 0
    while change > TOLERANCE:
        share = ranks / np.maximum(degree, 1)
        sent = np.bincount(destination, weights=share[source], minlength=n)
        arrived = dc.reduce_scatter(sent)
        # An airport without departures would lose its rank: spread it over all.
        lost = dc.allreduce(ranks[degree == 0].sum())
        updated = (1 - DAMPING + DAMPING * lost) / n + DAMPING * arrived
        change = dc.allreduce(np.abs(updated - ranks).sum())
        ranks, iterations = updated, iterations + 1
    return ranks, iterations


def pagerank_numpy(edges, n):
    """All PageRanks by solving the linear system of which they are the fixed point."""
    links = np.zeros((n, n))
    np.add.at(links, (edges[:, 1], edges[:, 0]), 1)
    degree = links.sum(axis=0)
    links = np.where(degree > 0, links / np.maximum(degree, 1), 1 / n)
    return np.linalg.solve(np.eye(n) - DAMPING * links, np.full(n, (1 - DAMPING) / n))


def main():
    edges = n = None
    if dc.rank == 0:
        with np.load(ROUTES) as data:
            edges, code, city = data["edges"].astype(np.int64), data["code"], data["city"]
        n = len(code)
    n = dc.bcast(n)
    block, iterations = pagerank(scatter_routes(edges, n), n)
    ranks = dc.gather(block)
    if dc.rank != 0:
        return
    for airport in np.argsort(-ranks)[:10]:
        print(f"{code[airport]}  {ranks[airport]:.4f}  {city[airport]}")
    error = np.abs(ranks - pagerank_numpy(edges, n)).max()
    print(f"{n} airports, {len(edges)} routes, {iterations} iterations, {dc.size} ranks")
    if error > 1e-12:
        raise SystemExit(f"pagerank: FAILED: differs from NumPy's solution by {error:.1e}")
    print(f"pagerank: OK, agrees with NumPy's solution of the linear system within {error:.1e}")


if __name__ == "__main__":
    main()
