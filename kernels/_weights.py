"""Sums by weights for `stencil`: pieces of rows as vectors, which are written at once."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._cells import VECTOR, moved, pointer_to_cell
from ._memory import prefetch

_INT, _SHORT = ir.IntType(64), ir.IntType(32)
_AHEAD = 2048  # bytes that are fetched before they are read, which a processor does by itself up to the end of a page


@intrinsic
def weigh_row(typingctx, out, x, stencil, place, start, count, past):
    """Write `count` cells of ``out[*place, start:]``, the sums by weights; if `past`, then past the caches.

    What has the same weight is added before it is multiplied. Where neighbours along the row weigh alike what stands
    across it, such as the nine cells on either side of a cube, that is summed first, once for all of them.
    """

    def generate(context, builder, signature, values):
        real = context.get_value_type(getattr(x.dtype, "underlying_float", x.dtype))
        parts = 2 if isinstance(x.dtype, types.Complex) else 1
        indices = [*cgutils.unpack_tuple(builder, values[3]), values[4]]
        target = builder.bitcast(pointer_to_cell(context, builder, out, values[0], indices)[0], real.as_pointer())
        align = VECTOR if out.aligned else 1
        sums = _Sums(
            builder, real, *pointer_to_cell(context, builder, x, values[1], indices), stencil.taps, parts, align
        )
        _write_row(builder, target, sums, builder.mul(values[5], _INT(parts)), context.get_abi_sizeof(real), values[6])
        return context.get_dummy_value()

    return types.void(out, x, stencil, place, types.int64, types.int64, types.boolean), generate


def _write_row(builder, target, sums, count, size, past):
    """Store `count` sums in vectors that fill lines of memory, and the ends of the row in parts of vectors.

    One by one, if there are less than a vector.
    """
    lanes = VECTOR // size
    with builder.if_else(builder.icmp_signed("<", count, _INT(lanes))) as (few, many):
        with few, cgutils.for_range(builder, count) as loop:
            _store(builder, sums.vector(loop.index, 1), target, loop.index)
        with many:
            before = builder.and_(builder.neg(builder.ptrtoint(target, _INT)), _INT(VECTOR - 1))
            first = builder.udiv(before, _INT(size))
            last, done = builder.sub(count, _INT(lanes)), cgutils.alloca_once_value(builder, first)
            end = builder.add(last, _INT(1))
            with builder.if_then(builder.icmp_signed(">", first, _INT(0))):
                _store_part(builder, sums.vector(_INT(0), lanes), target, _INT(0), _INT(0), first)
            with builder.if_else(past) as (streamed, cached):
                with streamed:
                    prefetch(
                        builder, builder.gep(target, [count]), writes=True
                    )  # a line that is shared with the next row
                    sums.store_vectors(target, done, end, lanes, streams=True)
                with cached:
                    sums.store_vectors(target, done, end, lanes, streams=False)
            with cgutils.for_range_slice(builder, builder.load(done), count, _INT(lanes), _INT, inc=True) as (rest, _):
                place = builder.select(builder.icmp_signed("<", rest, last), rest, last)
                _store_part(builder, sums.vector(place, lanes), target, place, builder.sub(rest, place), _INT(lanes))


class _Sums:
    """The sums by weights around the cells of a row, as vectors.

    Attributes
    ----------
    columns : list of (step along the row, what stands across it there: pairs of weight and place)
    carried : list of such columns     Those that are summed first, and used at some steps.
    """

    def __init__(self, builder, real, place, strides, taps, parts, align):
        self.builder, self.real, self.place, self.strides, self.align = builder, real, place, strides, align
        columns: dict = {}
        for (*offsets, step), weight in taps:
            columns.setdefault(step * parts, []).append((weight, tuple(offsets)))
        self.columns = [(step, tuple(column)) for step, column in columns.items()]
        self.reach = max((abs(step) for step in columns), default=0)
        self.newest = max((tuple(offsets) for (*offsets, _), _ in taps), default=None)
        several = [column for _, column in self.columns if len(column) > 1]
        self.carried = list(dict.fromkeys(several)) if len(several) > 1 else []
        self.bases: dict = {}
        for (*offsets, _), _ in taps:  # before any branch
            self._base(tuple(offsets))

    def _base(self, offsets):
        """The pointer to the piece so many rows away."""
        if offsets not in self.bases:
            there = moved(self.builder, self.place, offsets, self.strides)
            self.bases[offsets] = self.builder.bitcast(there, self.real.as_pointer())
        return self.bases[offsets]

    def vector(self, place, lanes):
        """The sums of so many cells."""
        return self._combined(place, lanes, lambda column, step: self._across(column, self._plus(place, step), lanes))

    def _plus(self, place, step):
        return self.builder.add(place, _INT(step))

    def _load(self, offsets, place, lanes):
        return _load(self.builder, self._base(offsets), place, lanes)

    def _combined(self, place, lanes, summed):
        """The sums, where those of carried columns are at hand."""
        terms: dict = {}
        for step, column in self.columns:
            if column in self.carried:
                terms.setdefault(1.0, []).append(summed(column, step))
                continue
            for weight, offsets in column:
                terms.setdefault(weight, []).append(self._load(offsets, self._plus(place, step), lanes))
        return self._weighted(terms, lanes)

    def _across(self, column, place, lanes):
        terms: dict = {}
        for weight, offsets in column:
            terms.setdefault(weight, []).append(self._load(offsets, place, lanes))
        return self._weighted(terms, lanes)

    def _weighted(self, terms, lanes):
        vector = ir.VectorType(self.real, lanes)
        products = []
        for weight, numbers in terms.items():
            total = _added(self.builder, numbers)
            products.append(total if weight == 1 else self.builder.fmul(ir.Constant(vector, [weight] * lanes), total))
        return _added(self.builder, products or [ir.Constant(vector, [0.0] * lanes)])

    def store_vectors(self, target, first, end, lanes, *, streams):
        """Store vectors from the place that `first` holds up to `end`, and leave there where the rest begins."""
        builder = self.builder
        if not self.carried or self.reach > lanes:
            self._in_vectors(target, first, end, lanes, streams, lambda place: self.vector(place, lanes))
            return
        # The sums of columns are made a vector ahead, and those before and after a place come by shuffling.
        before_last = builder.sub(end, _INT(lanes - self.reach))  # so that all that is loaded is of the row
        with builder.if_then(builder.icmp_signed("<", builder.load(first), before_last)):
            start, sums = builder.load(first), {}
            for column in self.carried:
                sums[column] = [cgutils.alloca_once(builder, ir.VectorType(self.real, lanes)) for _ in range(2)]
                around = self._across(column, self._plus(start, -self.reach), lanes)  # whose first are those before
                turned = _shuffled(builder, around, around, [(lane + self.reach) % lanes for lane in range(lanes)])
                builder.store(turned, sums[column][0])
                builder.store(self._across(column, start, lanes), sums[column][1])

            def carried_on(place):
                return self._carried_on(sums, place, lanes, is_last=False)

            self._in_vectors(target, first, before_last, lanes, streams, carried_on)
            place = builder.load(first)
            with builder.if_then(builder.icmp_signed("<", place, end)):
                numbers = self._carried_on(sums, place, lanes, is_last=True)
                self._store(target, first, place, lanes, streams, numbers)

    def _in_vectors(self, target, first, end, lanes, streams, compute):
        builder, start = self.builder, self.builder.load(first)
        with cgutils.for_range_slice(builder, start, end, _INT(lanes), _INT, inc=True) as (place, _):
            if streams and self.newest is not None:
                ahead = self._plus(place, _AHEAD * lanes // VECTOR)
                prefetch(builder, builder.gep(self._base(self.newest), [ahead]))
            self._store(target, first, place, lanes, streams, compute(place))

    def _store(self, target, first, place, lanes, streams, numbers):
        stored = _store(self.builder, numbers, target, place, align=self.align)
        if streams:
            stored.set_metadata("nontemporal", self.builder.module.add_metadata([_SHORT(1)]))
        self.builder.store(self._plus(place, lanes), first)

    def _carried_on(self, sums, place, lanes, *, is_last):
        """The sums of so many cells by the sums of columns at hand, which move on by a vector.

        At the last vector of a row there is no whole one after it: what counts of that is turned into its place.
        """
        builder, at_hand = self.builder, {}
        for column, (before, here) in sums.items():
            if is_last:
                around = self._across(column, self._plus(place, self.reach), lanes)
                after = _shuffled(builder, around, around, [(lane - self.reach) % lanes for lane in range(lanes)])
            else:
                after = self._across(column, self._plus(place, lanes), lanes)
            at_hand[column] = builder.load(before), builder.load(here), after
            builder.store(at_hand[column][1], before)
            builder.store(after, here)

        def shifted(column, step):
            before, here, after = at_hand[column]
            pair = (before, here) if step < 0 else (here, after)
            start = step + lanes if step < 0 else step
            return _shuffled(builder, *pair, range(start, start + lanes))

        return self._combined(place, lanes, shifted)


def _shuffled(builder, a, b, places):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_SHORT, len(places)), list(places)))


def _load(builder, base, place, lanes):
    vector = ir.VectorType(base.type.pointee, lanes)
    return builder.load(builder.bitcast(builder.gep(base, [place]), vector.as_pointer()), align=4)


def _store(builder, numbers, base, place, align=4):
    return builder.store(numbers, builder.bitcast(builder.gep(base, [place]), numbers.type.as_pointer()), align=align)


def _store_part(builder, numbers, base, place, first, last):
    """Store the lanes from `first` to `last` one by one: nothing touches lines that are written past the caches."""
    buffer = cgutils.alloca_once(builder, numbers.type)
    buffer.align = VECTOR
    builder.store(numbers, buffer)
    one = builder.bitcast(buffer, base.type)
    with cgutils.for_range_slice(builder, first, last, _INT(1), _INT, inc=True) as (lane, _):
        builder.store(builder.load(builder.gep(one, [lane])), builder.gep(base, [builder.add(place, lane)]))


def _added(builder, numbers):
    total = numbers[0]
    for number in numbers[1:]:
        total = builder.fadd(total, number)
    return total
