"""What `stencil` is compiled of: the types of stencils, the neighbourhood that a function sees, and its pieces of rows.

What a function of the user's computes goes to a line, a buffer in the first cache: there no other array can be, so
nothing keeps its loop from being vectorised. `_weights` has the pieces of sums by weights.
"""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.imputils import lower_builtin, lower_constant
from numba.core.typing.templates import AbstractTemplate, infer, signature
from numba.extending import NativeValue, intrinsic, models, register_model, unbox

_INT, _BYTES = ir.IntType(64), ir.IntType(8).as_pointer()
VECTOR = 64  # bytes
LINE = 2048  # bytes of a line, which with what is read for it fits the first cache; twice as many at most


class StencilType(types.Opaque):
    """`width`: how far neighbours are away."""

    width: int


class WeightsType(StencilType):
    """Weights are a part of the type, so code is compiled, and cached, for each stencil.

    Attributes
    ----------
    taps : tuple of (offsets, weight)     Those that are not zero.
    """

    def __init__(self, taps: tuple, dimensions: int) -> None:
        self.taps, self.dimensions = taps, dimensions
        self.width = max((abs(step) for offsets, _ in taps for step in offsets), default=0)
        super().__init__(f"Weights({dimensions}, {taps})")


class PointType(StencilType):
    """Of a function; its dispatcher is of this process, so the cache has no use of the type."""

    is_cached = False

    def __init__(self, dispatcher: Any, width: int) -> None:
        self.function, self.width = numba.typeof(dispatcher), width
        self._kept = dispatcher  # so that no other has its id
        super().__init__(f"Point({dispatcher.py_func.__qualname__}, {width})")

    @property
    def key(self) -> tuple:
        return self.name, id(self._kept)


@register_model(WeightsType)
@register_model(PointType)
class _Nothing(models.OpaqueModel):
    pass


@unbox(StencilType)
def _unbox(of, value, c):
    return NativeValue(c.context.get_dummy_value())


@lower_constant(StencilType)
def _constant(context, builder, of, value):
    return context.get_dummy_value()


class Neighbourhood(types.Type):
    """A cell and those around it: ``u[0, 0]`` is the cell, ``u[-1, 0]`` the one before it along the first axis."""

    def __init__(self, dtype: types.Type, dimensions: int, width: int) -> None:
        self.dtype, self.dimensions, self.width = dtype, dimensions, width
        super().__init__(f"Neighbourhood({dtype}, {dimensions}, {width})")


@register_model(Neighbourhood)
class _NeighbourhoodModel(models.StructModel):
    def __init__(self, manager, of):
        members = [("data", types.CPointer(of.dtype)), ("strides", types.UniTuple(types.int64, of.dimensions))]
        super().__init__(manager, of, members)


@infer
class _Neighbour(AbstractTemplate):
    key = "static_getitem"

    def generic(self, args, kws):
        of, index = args
        if not isinstance(of, Neighbourhood):
            return None
        steps = index if isinstance(index, tuple) else (index,)
        if len(steps) != of.dimensions or not all(isinstance(step, int) and abs(step) <= of.width for step in steps):
            raise TypingError(
                f"a neighbour must be given by {of.dimensions} whole numbers from {-of.width} to {of.width}, "
                f"the width of the stencil; got {index}."
            )
        return signature(of.dtype, *args)


@lower_builtin("static_getitem", Neighbourhood, types.Any)
def _neighbour(context, builder, signature, values):
    of, steps = signature.args[0], values[1] if isinstance(values[1], tuple) else (values[1],)
    around = cgutils.create_struct_proxy(of)(context, builder, values[0])
    place = moved(builder, builder.bitcast(around.data, _BYTES), steps, cgutils.unpack_tuple(builder, around.strides))
    return context.unpack_value(builder, of.dtype, builder.bitcast(place, around.data.type))


def moved(builder, pointer, steps, strides):
    """A pointer to a byte, moved along some axes; as pointers, so that LLVM knows of which array it is."""
    for step, stride in zip(steps, strides):
        pointer = builder.gep(pointer, [builder.mul(stride, step if isinstance(step, ir.Value) else _INT(step))])
    return pointer


@intrinsic
def width_of(typingctx, stencil):
    """How far neighbours are away."""

    def generate(context, builder, signature, values):
        return _INT(stencil.width)

    return types.int64(stencil), generate


@intrinsic
def fits(typingctx, out, x):
    """Whether all arrays are of one shape, their rows lie together, and none of x begins where `out` does."""

    def generate(context, builder, signature, values):
        arrays = [(out, values[0]), *_arrays(builder, x, values[1])]
        made = [(kind, context.make_array(kind)(context, builder, value)) for kind, value in arrays]
        extents = cgutils.unpack_tuple(builder, made[0][1].shape)
        result = ir.Constant(ir.IntType(1), 1)
        for kind, array in made:
            size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
            stride = cgutils.unpack_tuple(builder, array.strides)[-1]
            result = builder.and_(result, builder.icmp_signed("==", stride, stride.type(size)))
            for own, extent in zip(cgutils.unpack_tuple(builder, array.shape), extents):
                result = builder.and_(result, builder.icmp_signed("==", own, extent))
        begins = [builder.ptrtoint(array.data, _INT) for _, array in made]
        for other in begins[1:]:
            result = builder.and_(result, builder.icmp_signed("!=", other, begins[0]))
        return result

    return types.boolean(out, x), generate


def _arrays(builder, of, value):
    return [pair for pair in zip(parts_of(of), _values(builder, of, value)) if isinstance(pair[0], types.Array)]


def parts_of(of):
    """The types of a tuple, or the type."""
    return list(getattr(of, "types", [of]))


def _values(builder, of, value):
    if not isinstance(of, types.BaseTuple):
        return [value]
    return [builder.extract_value(value, i) for i in range(len(parts_of(of)))]


def pointer_to_cell(context, builder, kind, value, indices):
    """The pointer to an element, and the strides."""
    array = context.make_array(kind)(context, builder, value)
    strides = cgutils.unpack_tuple(builder, array.strides)
    return moved(builder, builder.bitcast(array.data, _BYTES), indices, strides), strides


@intrinsic
def address_of_cell(typingctx, array, place, start):
    """The address of ``array[*place, start]``."""

    def generate(context, builder, signature, values):
        indices = [*cgutils.unpack_tuple(builder, values[1]), values[2]]
        return builder.ptrtoint(pointer_to_cell(context, builder, array, values[0], indices)[0], _INT)

    return types.int64(array, place, types.int64), generate


@intrinsic
def compute_line(typingctx, out, x, stencil, place, start, count):
    """The address of a line, and in it `count` cells of ``out[*place, start:]``, by calling a function for each."""
    parts = parts_of(x)
    seen = [Neighbourhood(one.dtype, one.ndim, stencil.width) if isinstance(one, types.Array) else one for one in parts]
    called = typingctx.resolve_function_type(stencil.function, tuple(seen), {})

    def generate(context, builder, signature, values):
        indices = [*cgutils.unpack_tuple(builder, values[3]), values[4]]
        element = context.get_data_type(out.dtype)
        line = cgutils.alloca_once(builder, element, size=(2 * LINE + VECTOR) // context.get_abi_sizeof(element))
        line.align = VECTOR
        given = _values(builder, x, values[1])
        places = [
            None if around is kind else pointer_to_cell(context, builder, kind, value, indices)
            for kind, value, around in zip(parts, given, seen)
        ]
        function = context.get_function(stencil.function, called)
        context.add_linking_libs(getattr(function, "libs", ()))
        with cgutils.for_range(builder, values[5]) as loop:
            arguments = []
            for kind, value, around, cell in zip(parts, given, seen, places):
                if cell is None:
                    arguments.append(value)
                    continue
                base = builder.bitcast(cell[0], context.get_data_type(kind.dtype).as_pointer())
                around = cgutils.create_struct_proxy(around)(context, builder)
                around.data = builder.gep(base, [loop.index])
                around.strides = context.make_tuple(builder, types.UniTuple(types.int64, kind.ndim), cell[1])
                arguments.append(around._getvalue())
            result = function(builder, arguments)
            result = context.cast(builder, result, called.return_type, out.dtype)
            context.pack_value(builder, out.dtype, result, builder.gep(line, [loop.index]))
        return builder.ptrtoint(line, _INT)

    return types.int64(out, x, stencil, place, types.int64, types.int64), generate
