"""What loops rely on, looked at once before them: types when they are compiled, the rest by a few comparisons."""

from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic


@intrinsic
def have_one_length(typingctx, vectors):
    """Whether the arrays of a tuple do; which must be contiguous vectors of numbers or bool, all of one dtype."""
    for one in vectors:
        if not isinstance(one, types.Array) or one.ndim != 1 or one.layout != "C":
            raise TypingError(f"vectors must be contiguous arrays of one dimension; got {one}. Copy what is not.")
        if one.dtype != vectors[0].dtype or not isinstance(one.dtype, types.Number | types.Boolean):
            raise TypingError(f"vectors must be of one dtype of numbers; got {one} and {vectors[0]}.")

    def generate(context, builder, signature, values):
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(vectors, cgutils.unpack_tuple(builder, values[0]))
        ]
        first, *others = [builder.extract_value(array.shape, 0) for array in arrays]
        result = cgutils.true_bit
        for other in others:
            result = builder.and_(result, builder.icmp_signed("==", other, first))
        return result

    return types.boolean(vectors), generate
