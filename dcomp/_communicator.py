"""Communicators: who takes part, and how groups are made of groups."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from mpi4py import MPI

from . import _halo, _table, _world_map
from ._calls import describe, told_of
from ._checks import normalise_axis
from ._collectives import Collectives
from ._direct import use_direct_calls
from ._errors import RankFailedError, UsageError
from ._layout import block_slice, dims_create
from ._nonblocking import NonBlocking
from ._objects import Objects
from ._persistent import Persistent
from ._point_to_point import PointToPoint
from ._quick import use_shared_calls
from ._quick_messages import use_shared_messages
from ._shared_arrays import SharedArrays
from ._stopping import Stopping
from .engine import losses, recovery
from .engine.agreement import agree_simply
from .engine.plans import Plan
from .engine.requests import carry_out, run


class Communicator(Collectives, NonBlocking, Persistent, PointToPoint, Objects, Stopping, SharedArrays):
    """A group of ranks that communicate with each other and with no one else.

    Parameters
    ----------
    mpi_comm : mpi4py.MPI.Intracomm
        Its ranks in its order. It stays the caller's: messages travel on private duplicates, and `free` leaves it
        alone. Collective: every rank of `mpi_comm` makes one.

    Attributes
    ----------
    rank, size : int
    mpi : mpi4py.MPI.Intracomm     What was wrapped.

    Notes
    -----
    As the first use of dcomp it starts the job if it has all of the job's ranks, as `COMM_WORLD` does. Else its ranks
    go by themselves: through MPI, without shared memory and nodes, and an uncaught exception on one does not end the
    others. So use ``dc.COMM_WORLD`` on every rank first, if every rank has dcomp.
    """

    _record = 0  # where compiled code finds what it needs for calls without Python; 0: it makes none
    _inline: Any = None
    _known: Any = None  # calls that have been made before, where the ranks meet in shared memory
    _finish_message: Any = None  # the rest of a message that compiled code has begun

    def __init__(self, mpi_comm: MPI.Intracomm) -> None:
        if not isinstance(mpi_comm, MPI.Intracomm) or mpi_comm == MPI.COMM_NULL:
            raise TypeError(f"Communicator: mpi_comm must be an mpi4py intracommunicator; got {mpi_comm!r}.")
        self._set_up(mpi_comm, mpi_comm.Get_name() or "a communicator", owned=False)

    def _set_up(self, mpi_comm: MPI.Intracomm, name: str, owned: bool) -> None:
        self.mpi = mpi_comm
        self.rank: int = mpi_comm.Get_rank()
        self.size: int = mpi_comm.Get_size()
        self._owned = owned
        self._channel = _world_map.make_channel(mpi_comm, name)
        self._node: Communicator | None = None
        self._leaders: Communicator | None = None
        self._has_leaders = False
        self._let_go = []
        if self._channel.meeting is not None:
            use_shared_calls(self)
            if self._channel.mail is not None:
                use_shared_messages(self)
        elif self._channel.settings.is_bare and not losses.is_tolerant:
            use_direct_calls(self)  # which do not tell MPI's errors as losses

    @classmethod
    def _wrap(cls, mpi_comm: MPI.Intracomm, name: str) -> "Communicator":
        self = cls.__new__(cls)
        self._set_up(mpi_comm, name, owned=True)
        return self

    def __reduce__(self) -> tuple:
        """Copied or pickled, COMM_WORLD and COMM_SELF are those of the process; another communicator cannot be."""
        package = sys.modules["dcomp"]
        for name in ("COMM_WORLD", "COMM_SELF"):
            if vars(package).get(name) is self:
                return getattr, (package, name)
        raise TypeError(f"{self!r} cannot be copied or pickled, for it is of this process. Pass it as an argument.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._channel.name}: rank {self.rank} of {self.size}>"

    @property
    def _numba_type_(self) -> Any:
        """What numba asks objects that it does not know for."""
        from . import _njit

        return _njit.type_of("communicator")

    def _agree(self, function: str, fault: Exception | None = None, **facts: object) -> None:
        run(self._channel, function, agree_simply(self._channel, function, fault, **facts))

    def _combine(self, x: np.ndarray, function: str, told: str, out: np.ndarray | None = None) -> Any:
        """The sum over the ranks of what a function that is built on it has made of its arguments; collective.

        That function takes part in one exchange, this one, and under its own name: `told`, as in ``"a: 1; b: 2"``, are
        the facts that must be the same on every rank, and a mismatch speaks of them. Compiled code makes the same call.
        A rank whose own arguments are wrong calls `_refuse` in the place of it.
        """
        call = describe(self._channel, _table.ALLREDUCE, x, out, form=function, told=told_of(told))
        return carry_out(self._channel, call)

    def _refuse(self, function: str, fault: Exception) -> NoReturn:
        """Raise what is wrong with this rank's arguments, and tell the others, who are in their first exchange."""
        with self._channel.turn(function):
            self._agree(function, fault)
        raise fault

    def split(self, color: int | None, key: int = 0) -> "Communicator | None":
        """The communicator of the ranks that give the same color; collective.

        Parameters
        ----------
        color : int >= 0, or None: this rank joins none and gets None
        key : int     Ranks are numbered by key, then by their rank here.

        Notes
        -----
        MPI_Comm_split. Free it when it is not needed any more: ``with comm.split(c) as sub:``.
        """
        channel = self._channel
        fault = None
        for name, value, least in (("color", 0 if color is None else color, 0), ("key", key, -(2**31))):
            if not isinstance(value, int | np.integer) or not least <= value < 2**31:
                fault = ValueError(f"split: {name} must be an integer from {least} to {2**31 - 1}; got {value!r}")
        with channel.turn("split"):
            self._agree("split", fault)
            made: Any = channel.data.Split(MPI.UNDEFINED if color is None else color, key)
        return None if made == MPI.COMM_NULL else Communicator._wrap(made, f"{channel.name}.split({color})")

    def dup(self) -> "Communicator":
        """The same ranks, apart from this communicator's traffic; collective. MPI_Comm_dup."""
        channel = self._channel
        with channel.turn("dup"):
            self._agree("dup")
            made = channel.data.Dup()
        return Communicator._wrap(made, f"{channel.name}.dup()")

    def shrink(self) -> "Communicator":
        """The communicator of the ranks of this one that are alive; collective over them.

        For a job that has lost ranks and goes on: after a `RankFailedError` it is what can still be called here, and
        every rank that lives has to. `dcomp.recover` takes care of that.

        Returns
        -------
        Communicator     With its own place in shared memory; the ranks keep their order. If a rank dies while it is
            made, it is made again.

        Raises
        ------
        UsageError          If this job cannot lose ranks.
        RankFailedError     If MPI has not noticed that a rank is dead.

        Notes
        -----
        MPI_Comm_shrink, and what any new communicator costs; some milliseconds. What the old one holds -- arrays in
        flight, requests, plans, shared arrays -- stays where it is until the program ends.
        """
        channel = self._channel
        if not losses.is_tolerant:
            raise UsageError(
                f"shrink: this job ends when a rank dies, so {channel.name} has all its ranks. Jobs that go on are "
                "started by the mpirun of Open MPI, with --with-ft ulfm."
            )
        while True:
            made, comm = recovery.shrink(channel, "shrink"), None
            with suppress(RankFailedError):
                comm = Communicator._wrap(made, f"{channel.name}.shrink()")
            if recovery.agree(channel, "shrink", comm is not None) and comm is not None:
                return comm

    def _is_over(self, function: str, has_ended: bool) -> bool:
        """Whether all ranks that live have come to the end of `function`; the same on all. Collective over them."""
        return recovery.agree(self._channel, function, has_ended)

    def free(self) -> None:
        """Give the communicator back to MPI; collective. Any later call on it raises `UsageError`.

        Raises
        ------
        UsageError     For COMM_WORLD and COMM_SELF, and while non-blocking calls are in flight.
        """
        channel = self._channel
        if not self._owned and self.mpi in (MPI.COMM_WORLD, MPI.COMM_SELF):
            raise UsageError(f"free: {channel.name} cannot be freed.")
        with channel.turn("free"):
            fault = None
            if channel.unstarted or channel.moving:
                fault = UsageError(
                    f"free: {channel.name} has requests in flight on rank {self.rank}; wait for them first."
                )
            self._agree("free", fault)
            self._free_shared_arrays()
            for part in (self._node, self._leaders):
                if part is not None and part is not self:
                    part.free()
            channel.free()
            if self._owned:
                self.mpi.Free()

    def __enter__(self) -> "Communicator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Freeing is collective: after an error that others may not have had it could hang.
        if kind is None:
            self.free()

    @property
    def node(self) -> "Communicator":
        """The ranks that share this rank's memory; the first use is collective."""
        if self._node is None:
            self._node = self.split(_world_map.node_of(self._channel.members[self.rank]))
        return self._node  # type: ignore[return-value]

    @property
    def leaders(self) -> "Communicator | None":
        """One rank per node, the lowest; None on the others. The first use is collective."""
        if not self._has_leaders:
            first = self.node.rank == 0
            self._leaders = self.split(0 if first else None)
            self._has_leaders = True
        return self._leaders

    def block(self, n: int) -> slice:
        """This rank's part of ``range(n)``, as `scatter` cuts it."""
        return block_slice(n, self.size, self.rank)

    def cart(self, dims: Sequence[int] | int | None = None, periods: bool | Sequence[bool] = False) -> "CartComm":
        """The same ranks as a grid; collective.

        Parameters
        ----------
        dims : ranks along every axis; zeros are chosen so that the grid is as square as can be.
            A single number counts for one axis; None: two axes, chosen.
        periods : whether the grid is closed, for all axes or for each

        Raises
        ------
        ValueError     On every rank, if `dims` do not multiply to the number of ranks.

        Notes
        -----
        MPI_Cart_create; ranks keep their numbers, the last axis varies fastest.
        """
        channel, fault = self._channel, None
        grid: tuple[int, ...] = ()
        closed: tuple[bool, ...] = ()
        try:
            wanted = (0, 0) if dims is None else tuple(np.atleast_1d(np.asarray(dims)).tolist())
            grid = dims_create(self.size, wanted)
            closed = tuple(np.broadcast_to(np.asarray(periods, bool), len(grid)).tolist())
        except (TypeError, ValueError) as error:
            fault = error if "cart" in str(error) else ValueError(f"cart: bad dims or periods: {error}.")
        with channel.turn("cart"):
            self._agree("cart", fault, dims=grid, periods=closed)
            made = channel.data.Create_cart(grid, closed, reorder=False)
        cart = CartComm._wrap(made, f"{channel.name}.cart({grid})")
        return cart  # type: ignore[return-value]


class CartComm(Communicator):
    """A communicator whose ranks form a grid; made by `Communicator.cart`.

    Attributes
    ----------
    dims : tuple of int       Ranks along every axis.
    periods : tuple of bool   Whether an axis is closed.
    coords : tuple of int     This rank's place.
    """

    def _set_up(self, mpi_comm: MPI.Intracomm, name: str, owned: bool) -> None:
        super()._set_up(mpi_comm, name, owned)
        dims, periods, coords = mpi_comm.Get_topo()  # type: ignore[attr-defined]
        self.dims: tuple[int, ...] = tuple(dims)
        self.periods: tuple[bool, ...] = tuple(map(bool, periods))
        self.coords: tuple[int, ...] = tuple(coords)
        self._halos = _halo.Halos(self._channel, self.dims, self.periods, self._known)

    @property
    def _numba_type_(self) -> Any:
        from . import _njit

        return _njit.type_of("grid", len(self.dims))

    def shift(self, axis: int, step: int = 1) -> tuple[int | None, int | None]:
        """The ranks to receive from and to send to when all shift by `step` along `axis`; None beyond an edge."""
        axis = normalise_axis(axis, len(self.dims), "shift")
        source, dest = self.mpi.Shift(axis, step)  # type: ignore[attr-defined]
        return (None if source < 0 else source), (None if dest < 0 else dest)

    def block(self, shape: int | Sequence[int]) -> Any:
        """This rank's part of a global array of `shape`: a slice for every axis, whole beyond the grid's axes."""
        extents = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        if len(extents) < len(self.dims):
            raise ValueError(f"block: shape must have at least {len(self.dims)} axes; got {extents}.")
        cuts = [block_slice(n, p, c) for n, p, c in zip(extents, self.dims, self.coords, strict=False)]
        return (*cuts, *(slice(0, n) for n in extents[len(cuts) :]))

    def halo(self, array: Any, width: int = 1) -> None:
        """Fill the ghost layers of an array from the neighbours, in place, corners included; collective.

        Parameters
        ----------
        array : array, or a sequence of arrays that travel together
            Shape: the block's plus `width` on both sides of every axis of the grid; further axes are whole.
        width : int     Ghost layers on each side; no block may be thinner.

        Raises
        ------
        CollectiveMismatchError, ShapeMismatchError     On every rank, if the arrays do not fit together.

        Notes
        -----
        A message to each neighbour, those at edges and corners included, whatever the number of arrays; the check's
        exchange of 128 bytes, and once for each new shape the shapes of all ranks. At an edge that is not periodic the
        ghost layers keep their values. A block may be empty: then the blocks on both sides of it are neighbours.
        (Without checks and shared memory none may be.)

        Examples
        --------
        rank 0 [. 1 2 .], rank 1 [. 3 4 .]  ->  rank 0 [. 1 2 3], rank 1 [2 3 4 .]
        """
        self._halos.exchange(array, width)

    def halo_init(self, array: Any, width: int = 1) -> Plan:
        """`halo` as a plan, in two parts: between `start` and `wait` the program computes what needs no ghost layers.

        Parameters
        ----------
        array, width     As of `halo`; each use of the plan fills the ghost layers of these arrays.

        Notes
        -----
        Arguments are checked once, here. `start` gathers the layers, so the cells that are sent may be written again
        before `wait`; ghost layers change in `wait`.

        Examples
        --------
        rank 0 [. 1 2 .], rank 1 [. 3 4 .]  ->  rank 0 [. 1 2 3], rank 1 [2 3 4 .]
        """
        return self._halos.plan(array, width)
