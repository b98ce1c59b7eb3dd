"""`stop_requested` in compiled code: the sum over the ranks without Python, once this rank watches for signals."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from .. import _stopping
from ._bridge import STOP_WORDS
from ._stamp import stamp

_SIGNALS, _TIME = 1, 2  # words of `_stopping.words`


@intrinsic
def _load_word(typing_context, index):
    """One of the words; their address is looked up when the code is loaded."""

    def generate(context, builder, sig, args):
        words = ir.ArrayType(ir.IntType(64), _stopping.words.size)
        found = builder.module.globals.get(STOP_WORDS) or cgutils.add_global_variable(builder.module, words, STOP_WORDS)
        address = cgutils.gep(builder, found, context.get_constant(types.intp, 0), args[0])
        return builder.load_atomic(address, "monotonic", 8)

    return types.int64(types.intp), generate


_word: Any = _load_word


@register_jitable
def _own():
    """What this rank puts into the sum."""
    part = np.empty(1, np.int64)
    part[0] = _word(0)
    return part


@cache
def _asker(is_world: bool) -> Callable:
    """What gives the sum; -1 where Python has to make the call, for the handlers are not yet set, or no one keeps the
    time.
    """
    functions: Any = import_module("dcomp._functions")  # late: a cache entry may bring this module before any use of it
    combine, told = functions._combine, _stopping.TOLD

    def of_world(comm):
        if _word(_SIGNALS) == 0:
            return -1
        return combine(_own(), "stop_requested", told)[0]

    def of_any(comm):
        if _word(_SIGNALS) == 0 or (comm.rank == 0 and _word(_TIME) == 0):
            return -1
        return comm._combine(_own(), "stop_requested", told)[0]

    return njit(of_world if is_world else of_any)


def ask(context: Any, builder: Any, this: tuple, make: Callable[[str, dict], Any]) -> Any:
    """The code of a call; `make` is that of a call, by name and arguments, which Python makes."""
    stamp(context)
    kind, comm = this
    # Not by `compile_internal`: of what that compiles, numba keeps no environment in its cache.
    function = context.typing_context.resolve_value_type(_asker(kind is types.none))
    called = context.get_function(function, function.get_call_type(context.typing_context, (kind,), {}))
    total = called(builder, [comm])
    answer = cgutils.alloca_once_value(builder, ir.IntType(1)(0))
    with builder.if_then(builder.icmp_signed("!=", total, total.type(0)), likely=False):
        with builder.if_else(builder.icmp_signed("<", total, total.type(0))) as (unasked, stopping):
            with unasked:
                builder.store(make("stop_requested", {}), answer)
            with stopping:
                builder.store(make("_note_stop", {"total": (types.int64, total)}), answer)
    return builder.load(answer)
