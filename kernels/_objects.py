"""Python's array objects in compiled code, which numba would take as long to unpack as ranks to exchange a few bytes.

An object comes as its address, None as 0. What stands there: first what every object has, its type last
(PyObject_HEAD); then address of the data, number of dimensions, extents, strides, base, dtype and flags of the array,
each in 8 bytes (numpy's ndarrayobject.h, PyArrayObject_fields).
"""

from llvmlite import ir
from numba import types
from numba.extending import NativeValue, intrinsic, models, register_model, unbox

from ._jit import jit
from ._memory import peek, peek32

IN_ORDER, WRITEABLE = 1, 1024  # flags of an array


class _Object(types.Opaque):
    """The type of any object in a compiled function's signature."""


any_object = _Object("any object")
register_model(_Object)(models.OpaqueModel)


@unbox(_Object)
def _unbox(of, value, context):
    is_none = context.builder.icmp_unsigned("==", value, context.pyapi.borrow_none())
    return NativeValue(context.builder.select(is_none, ir.Constant(value.type, None), value))


@intrinsic
def address_of(typingctx, value):
    """An object's address; 0 if it is None. It is borrowed: whoever called keeps the object."""

    def generate(context, builder, signature, values):
        return builder.ptrtoint(values[0], ir.IntType(64))

    return types.int64(any_object), generate


@jit
def is_array(value, data, array_type, layout, flags):
    """Whether an object is an array of this very type, dtype, shape and flags; `data` is where in it its fields begin.

    `layout` is the address of int64: the address of the dtype, the number of dimensions, and the extents.
    """
    fields = value + data
    if peek(fields - 8) != array_type or peek(fields + 40) != peek(layout):
        return False
    dimensions = peek(layout + 8)
    if peek32(fields + 8) != dimensions or peek32(fields + 48) & flags != flags:
        return False
    extents, fits = peek(fields + 16), True
    for axis in range(dimensions):
        fits = fits and peek(extents + 8 * axis) == peek(layout + 16 + 8 * axis)
    return fits
