"""Grids of ranks and their ghost layers, against numpy.pad on the whole array."""

import itertools

import numpy as np
import pytest
from arrays import DTYPES, assert_same, laid_out, values
from hypothesis import given
from hypothesis import strategies as st
from parallel import all_raise, together

import dcomp as dc

_GRIDS = [1, (0,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]


def _fits(world, dims) -> tuple[int, ...]:
    return (world.size,) if dims == 1 else dims


def _padded(whole: np.ndarray, width: int, dims: int, periods: tuple[bool, ...]) -> np.ndarray:
    """The whole array with its own ghost layers; beyond an edge that is not periodic: zeros."""
    for axis in range(dims):
        pad = [(0, 0)] * whole.ndim
        pad[axis] = (width, width)
        whole = np.pad(whole, pad, mode="wrap") if periods[axis] else _pad_with_zeros(whole, pad)
    return whole


def _pad_with_zeros(x: np.ndarray, pad: list[tuple[int, int]]) -> np.ndarray:
    result = np.zeros([n + a + b for n, (a, b) in zip(x.shape, pad, strict=True)], x.dtype)
    result[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, pad, strict=True))] = x
    return result


def _with_ghosts(cart: dc.CartComm, whole: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """This rank's block with empty ghost layers, and as it must be when they are filled."""
    n = len(cart.dims)
    where = cart.block(whole.shape)
    inside = whole[where]
    mine = _pad_with_zeros(inside, [(width, width) if axis < n else (0, 0) for axis in range(whole.ndim)])
    padded = _padded(whole, width, n, cart.periods)
    wider = tuple(slice(s.start, s.stop + 2 * width) if axis < n else s for axis, s in enumerate(where))
    return mine, padded[wider]


def _shape(cart: dc.CartComm, thickness: int, more: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Uneven blocks of at least this thickness."""
    return (*(thickness * n + n // 2 for n in cart.dims), *more)


@pytest.mark.parametrize("dims", _GRIDS)
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("width", [1, 2])
def test_halo(world, dims, periodic, width):
    with together(), world.cart(_fits(world, dims), periodic) as cart:
        whole = values(1, _shape(cart, width + 1), "f8") + 100
        mine, expected = _with_ghosts(cart, whole, width)
        assert cart.halo(mine, width) is None
        assert_same(mine, expected)


def test_mixed_periods(world):
    for periods in itertools.product([False, True], repeat=2):
        with together(), world.cart(None, periods) as cart:
            assert cart.periods == periods
            mine, expected = _with_ghosts(cart, values(2, _shape(cart, 3), "i4"), 1)
            cart.halo(mine)
            assert_same(mine, expected)


@given(
    dtype=st.sampled_from(DTYPES),
    more=st.lists(st.integers(0, 3), max_size=2),
    width=st.integers(1, 3),
    layout=st.sampled_from(["C", "Fortran", "strided", "reversed"]),
    periodic=st.booleans(),
)
def test_any_array(cart, dtype, more, width, layout, periodic):
    cart = cart[periodic]
    with together():
        whole = values(3, _shape(cart, width, tuple(more)), dtype)
        mine, expected = _with_ghosts(cart, whole, width)
        mine = laid_out(mine, layout)
        cart.halo(mine, width)
        assert_same(np.ascontiguousarray(mine), expected)


@pytest.fixture
def cart(world):
    """One grid that is closed and one that is not."""
    return {periodic: world.cart(None, periodic) for periodic in (False, True)}


def test_several_arrays_travel_together(world):
    with together(), world.cart() as cart:
        pairs = [
            _with_ghosts(cart, values(i, _shape(cart, 2 + i, more), dtype), 1)
            for i, (dtype, more) in enumerate([("f8", ()), ("i2", (3,)), ("?", ()), ("D", (2, 0))])
        ]
        cart.halo([mine for mine, _ in pairs])
        for mine, expected in pairs:
            assert_same(mine, expected)


def test_again_with_new_values(world):
    with together(), world.cart(None, True) as cart:
        for i in range(5):
            mine, expected = _with_ghosts(cart, values(i, _shape(cart, 2), "f8"), 1)
            cart.halo(mine)
            assert_same(mine, expected)


def test_edges_keep_their_values(world):
    with together(), world.cart((world.size,)) as cart:
        mine = np.full((5, 2), 7.0)
        mine[1:-1] = cart.rank
        cart.halo(mine)
        assert (mine[0] == (cart.rank - 1 if cart.rank else 7)).all()
        assert (mine[-1] == (cart.rank + 1 if cart.rank < cart.size - 1 else 7)).all()


def test_shift(world):
    with together(), world.cart((world.size,)) as line, world.cart((world.size,), True) as ring:
        rank, size = world.rank, world.size
        assert line.shift(0) == (rank - 1 if rank else None, rank + 1 if rank + 1 < size else None)
        assert ring.shift(0, 1) == ((rank - 1) % size, (rank + 1) % size)
        assert ring.shift(-1, -1) == ((rank + 1) % size, (rank - 1) % size)
        assert ring.shift(0, 2) == ((rank - 2) % size, (rank + 2) % size)
        with pytest.raises(ValueError, match="shift: axis must lie"):
            line.shift(1)


def test_coordinates_follow_the_ranks(world):
    with together(), world.cart() as cart:
        assert len(cart.dims) == 2
        assert np.prod(cart.dims) == world.size
        assert cart.rank == world.rank
        assert np.ravel_multi_index(cart.coords, cart.dims) == cart.rank


def test_dims_are_as_square_as_can_be(world):
    expected = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2), 6: (3, 2), 8: (4, 2), 12: (4, 3)}.get(world.size)
    if expected is None:
        pytest.skip("a size of which the answer is not written down")
    with together(), world.cart() as cart:
        assert cart.dims == expected


def test_blocks_of_the_grid_make_the_whole(world):
    whole = values(1, (7, 5, 3), "f8")
    with together(), world.cart() as cart:
        mine = whole[cart.block(whole.shape)]
        assert mine.shape[2] == 3
        result = np.zeros_like(whole)
        result[cart.block(whole.shape)] = mine
        assert_same(cart.allreduce(result), whole)
        line = cart.block((4, 4))
        assert len(line) == 2


def test_a_grid_is_a_communicator(world):
    with together(), world.cart() as cart:
        assert isinstance(cart, dc.Communicator)
        assert cart.allreduce(1) == world.size
        with cart.dup() as sub:
            assert sub.allreduce(1) == world.size


def test_one_rank(communicators):
    """A periodic grid of one rank is its own neighbour."""
    with together(), communicators["SELF"].cart((1, 1), True) as cart:
        mine, expected = _with_ghosts(cart, values(1, (4, 5), "f8"), 2)
        cart.halo(mine, 2)
        assert_same(mine, expected)


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("dims", [(99,), (-1, 0), (0, 99), "no", (0.5,), ()])
def test_wrong_dims(world, dims):
    if dims == () and world.size == 1:
        pytest.skip("one rank fills a grid of no axis")
    with all_raise(ValueError, "cart: "):
        world.cart(dims)
    with together():
        assert world.allreduce(1) == world.size


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("culprit", [0, -1])
def test_dims_differ(world, culprit):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    dims = (world.size, 1) if world.rank == culprit % world.size else (1, world.size)
    with all_raise(dc.CollectiveMismatchError, "cart: dims must be the same on every rank"):
        world.cart(dims)
    with together():
        assert world.allreduce(1) == world.size


_WRONG = {
    "width zero": (np.zeros((6, 6)), 0, ValueError, "width must be an integer"),
    "width a float": (np.zeros((6, 6)), 1.5, (ValueError, TypeError), "width must be an integer"),
    "too thin": (np.zeros((6, 1)), 1, ValueError, "array must hold a block"),
    "too few axes": (np.zeros(6), 1, ValueError, "array must have at least 2 axes"),
    "read-only": (laid_out(np.zeros((6, 6)), "read-only"), 1, ValueError, "must be writable"),
    "a list": ([[1, 2], [3, 4]], 1, TypeError, "NumPy array"),
    "objects": (np.full((6, 6), None), 1, TypeError, "array must be numeric"),
    "nothing": (None, 1, TypeError, "array must"),
}


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize("wrong", _WRONG)
@pytest.mark.parametrize("culprit", [0, -1])
def test_local_mistakes(world, wrong, culprit):
    array, width, error, told = _WRONG[wrong]
    cart = world.cart()
    good = np.zeros((6, 6))
    if world.rank == culprit % world.size:
        with all_raise(error, f"halo: .*{told}"):
            cart.halo(array, width)
    else:
        with all_raise(dc.CollectiveMismatchError, f"halo: wrong arguments on rank {culprit % world.size} of"):
            cart.halo(good)
    with together():
        assert (good == 0).all()
        cart.halo(good)
        cart.free()


@pytest.mark.usefixtures("needs_checks")
@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda: (np.zeros((6, 6), "f4"), 1), dc.CollectiveMismatchError, "dtype"),
        (lambda: (np.zeros((6, 6)), 2), dc.CollectiveMismatchError, "width"),
        (lambda: ([np.zeros((6, 6)), np.zeros((6, 6))], 1), dc.CollectiveMismatchError, "arrays"),
        (lambda: (np.zeros((6, 6, 2)), 1), dc.ShapeMismatchError, "shape beyond the grid"),
    ],
    ids=["dtype", "width", "number", "shape"],
)
def test_ranks_differ(world, make, error, told):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    cart = world.cart()
    good = np.full((6, 6), 3.0)
    with all_raise(error, f"halo: {told}"):
        cart.halo(*make()) if world.rank == world.size - 1 else cart.halo(good)
    with together():
        assert (good == 3).all()
        cart.halo(good)
        cart.free()


@pytest.mark.usefixtures("needs_checks")
def test_neighbours_of_different_thickness(world):
    """Along the other axis the blocks of neighbours must be of one length."""
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    cart = world.cart((world.size, 1))
    for _ in range(2):
        mine = np.zeros((5, 6 + (world.rank == 0)))
        with all_raise(dc.ShapeMismatchError, "halo: array must have the same length along axis 1"):
            cart.halo(mine)
    with together():
        cart.halo(np.zeros((5 + world.rank, 6)))
        cart.halo(np.zeros((5, 6)))
        cart.free()


@pytest.mark.parametrize("periodic", [False, True])
def test_empty_blocks_are_passed_over(world, periodic):
    """The cut is one layer thinner than ranks: some at the end hold nothing, and their neighbours are each other's."""
    n = max(1, world.size - 1)
    with together(), world.cart((world.size,), periodic) as cart:
        if not cart._channel.is_checked:
            pytest.skip("without checks and shared memory no block may be empty")
        whole = values(5, (n, 3), "f8") + 100
        mine, expected = _with_ghosts(cart, whole, 1)
        for _ in range(4):
            cart.halo(mine)
        if cart.rank < n:  # an empty block has no neighbours, nor ghost layers that mean something
            assert_same(mine, expected)
        else:
            assert (mine == 0).all()


def test_all_blocks_are_empty(world):
    with together(), world.cart() as cart:
        for _ in range(3):
            mine = np.full((2, 2), 5.0)
            cart.halo(mine)
            assert (mine == 5).all()


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("large", [False, True])
def test_many_times(world, width, large):
    """From the third call on it is known by tokens; little travels beside the flags, much through the heap."""
    more = (400,) if large else ()
    with together(), world.cart(None, (True, False)) as cart:
        for i in range(6):
            mine, expected = _with_ghosts(cart, values(i, _shape(cart, 4, more), "f8"), width)
            cart.halo(mine, width)
            assert_same(mine, expected)
            assert world.allreduce(1) == world.size


def test_layouts_take_turns(world):
    """Of two arrays, of which ranks bring one or the other; and the same array in other memory."""
    with together(), world.cart() as cart:
        for i in range(12):
            shape = _shape(cart, 2 + i % 3)
            mine, expected = _with_ghosts(cart, values(i, shape, "i2"), 1)
            mine = laid_out(mine, "Fortran" if (i // 3 + cart.rank) % 2 else "C")
            cart.halo(mine)
            assert_same(np.ascontiguousarray(mine), expected)


def test_equal_dtypes_that_are_different_objects(world):
    with together(), world.cart() as cart:
        for i in range(5):
            mine, expected = _with_ghosts(cart, values(i, _shape(cart, 2), "f8"), 1)
            record = np.dtype([("a", "f4"), ("b", "f4")])  # another each time
            again = mine.view(record)
            cart.halo(again)
            assert_same(again.view("f8"), expected)


@pytest.mark.usefixtures("needs_checks")
def test_shapes_that_have_been_seen_but_not_together(world):
    """Each rank has made the call with both arrays before, and with these neighbours not."""
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    cart = world.cart((world.size, 1))
    one, other = np.full((5, 6), 3.0), np.full((5, 7), 3.0)
    with together():
        for _ in range(4):
            cart.halo(one)
            cart.halo(other)
    for _ in range(3):
        with all_raise(dc.ShapeMismatchError, "halo: array must have the same length along axis 1"):
            cart.halo(one if world.rank == 0 else other)
    with together():
        for _ in range(3):
            cart.halo(one)
            cart.halo(other)
        cart.free()


@pytest.mark.usefixtures("needs_checks")
def test_another_call_on_a_rank(world):
    """What was known is asked again, and told."""
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    cart = world.cart()
    array = np.full((4, 4), 3.0)
    with together():
        for _ in range(4):
            cart.halo(array)
    for wrong in (
        cart.barrier,
        lambda: cart.allreduce(1.0),
        lambda: cart.halo(array, 2),
        lambda: cart.halo(array, np.array([1, 1])),
        lambda: cart.halo(None),
    ):
        with all_raise(dc.CollectiveMismatchError if world.rank else (dc.DcompError, ValueError, TypeError), "halo"):
            cart.halo(array) if world.rank else wrong()
        with together():
            assert (array == 3).all() or world.rank == 0
            cart.barrier()
    with together():
        cart.halo(array)
        cart.free()


def test_plan(world):
    """Others may come between, and what was sent may be written."""
    with together(), world.cart(None, True) as cart:
        mine, _ = _with_ghosts(cart, values(0, _shape(cart, 3), "f8"), 1)
        more, _ = _with_ghosts(cart, values(0, _shape(cart, 4, (300,)), "i4"), 1)
        small, both = cart.halo_init(mine), cart.halo_init([mine, more])
        for i in range(5):
            for plan in (small, both):
                fresh, expected = _with_ghosts(cart, values(i, _shape(cart, 3), "f8"), 1)
                others, of_others = _with_ghosts(cart, values(i, _shape(cart, 4, (300,)), "i4"), 1)
                mine[...], more[...] = fresh, others
                if i % 2:
                    assert plan() is None
                else:
                    plan.start()
                    assert world.allreduce(1) == world.size
                    mine[1:-1, 1:-1] += 1
                    assert plan.wait() is None
                    mine[1:-1, 1:-1] -= 1
                assert_same(mine, expected)
                if plan is both:
                    assert_same(more, of_others)
        with pytest.raises(RuntimeError, match="halo_init: wait must follow start"):
            small.wait()
        for plan in (small, both):
            plan.free()


@pytest.mark.usefixtures("needs_checks")
def test_plan_of_wrong_arrays(world):
    cart = world.cart()
    with all_raise(ValueError, r"halo_init: array must hold a block.*got shape \(1, 1\)"):
        cart.halo_init(np.zeros((1, 1)))
    with together():
        plan = cart.halo_init(np.zeros((3, 3)))
        plan()
        plan.free()
        cart.free()


def test_without_the_checks_needs_no_exchange(world):
    """Messages of user and halo do not mix, and ranks may be one exchange apart."""
    with together(), world.cart((world.size,), True) as cart:
        for i in range(20):
            mine = np.full(4, 10.0 * i + cart.rank)
            cart.halo(mine)
            left, right = cart.shift(0)
            assert mine[0] == 10 * i + left
            assert mine[-1] == 10 * i + right
