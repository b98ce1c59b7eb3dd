"""How long the vectors are that LLVM makes of a loop."""

from numba import types
from numba.extending import intrinsic

_LONG = '"prefer-vector-width"="512"'


@intrinsic
def use_long_vectors(typingctx):
    """Have the loops of this function, and of what is inlined in it, use the longest vectors of the processor.

    For Intel's, LLVM takes vectors of half that length, since the first processors with AVX-512 became slower with
    whole ones. Where most of the work is arithmetic, whole ones take .7 to .8 of the time, measured on Emerald Rapids.
    """

    def generate(context, builder, signature, values):
        set.add(builder.function.attributes, _LONG)  # `add` of its own knows no attributes that have values
        return context.get_dummy_value()

    return types.void(), generate
