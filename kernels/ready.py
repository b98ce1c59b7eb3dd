"""Have the functions that Python calls at hand, and where their code is."""

from typing import Any

from . import boxes, exchange, mail
from ._jit import load_compiled

_CALLED = (*exchange.CALLED, *mail.CALLED, *boxes.CALLED)


def load_all() -> bool:
    """Load every function that is called from Python from the cache; false if one has to be compiled."""
    loaded = [load_compiled(function, arguments) for function, arguments in _CALLED]  # all, for some may be broken
    return all(loaded)


def compile_all() -> None:
    """Compile what `load_all` has not found."""
    for function, arguments in _CALLED:
        function.compile(arguments)


def entry_point(function: Any) -> Any:
    """The compiled function as numba's dispatcher calls it in the end, which itself takes as long as an exchange."""
    return function.overloads[function.signatures[0]].entry_point


def c_address(function: Any) -> int:
    """Where the machine code of the compiled function is, for who calls it as one of C."""
    result = function.overloads[function.signatures[0]]
    return result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
