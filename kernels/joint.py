"""A reduction for an MPI library that compares what the ranks call and combines small arrays, in one message.

A message is `WORDS` int64: the claim, of which the smallest of every word is kept; a code, which says how the array is
combined; its number of elements; and the array.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ._jit import c_function
from ._memory import combine, peek, peek32, poke

CLAIM = 16  # words
CODE, COUNT, DATA = 16, 17, 18
ROOM = 256  # bytes of an array
WORDS = DATA + ROOM // 8
FAULT = 0  # less than the first word of any right claim: see `dcomp._checks`
NOTHING, DIFFERENT, EITHER, FOLDS = range(4)  # codes; from FOLDS on they are places in the table


@intrinsic
def _table(typingctx):
    """The address of a word of this process and of this code alone, 0 at first."""

    def generate(context, builder, signature, values):
        word, name = ir.IntType(64), "dcomp_table"
        if name not in builder.module.globals:
            variable = ir.GlobalVariable(builder.module, word, name)
            variable.linkage, variable.initializer = "internal", ir.Constant(word, 0)
        return builder.ptrtoint(builder.module.globals[name], word)

    return types.int64(), generate


# void function(void *a, void *b, int *length, MPI_Datatype *datatype)
@c_function(types.void(*[types.int64] * 4))
def merge(a, b, length, datatype):
    """``b[i] = a[i] op b[i]`` for messages; MPI_User_function (MPI-4.1, 6.9.5), commutative.

    Without a length, `a` is the address of a table of the functions that combine arrays, see `combine.folder`, for this
    process. A function that it does not have belongs to a call that this rank does not make: the claims differ, and
    what would have been combined is not looked at.
    """
    table = _table()
    if length == 0:
        poke(table, a)
        return
    for place in range(peek32(length)):
        one, two = a + 8 * WORDS * place, b + 8 * WORDS * place
        is_same = True
        for i in range(CLAIM):
            is_same = is_same and peek(one + 8 * i) == peek(two + 8 * i)
            poke(two + 8 * i, min(peek(one + 8 * i), peek(two + 8 * i)))
        code = peek(one + 8 * CODE)
        if code != peek(two + 8 * CODE):
            poke(two + 8 * CODE, DIFFERENT)
            if is_same:  # which must not be; no rank may take what has not been combined for a result
                poke(two, FAULT)
        elif code == EITHER:
            for i in range(DATA, WORDS):
                poke(two + 8 * i, peek(one + 8 * i) | peek(two + 8 * i))
        elif code >= FOLDS:
            function, target = peek(peek(table) + 8 * code), two + 8 * DATA
            if function != 0 and peek(one + 8 * COUNT) == peek(two + 8 * COUNT):
                combine(function, target, target, one + 8 * DATA, peek(two + 8 * COUNT))
