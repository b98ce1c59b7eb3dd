"""The collectives inside `@numba.njit`: the functions and methods of the same names, and the objects they take.

numba learns of them by its entry point ``numba_extensions``, or when the functions are first used. What is imported
here starts neither MPI nor any module of dcomp that does. A call like one before is made by compiled code itself
(`_inline`, `_inline_messages`); any other takes the GIL and makes the Python call of the same
name (`_bridge`), so both are one implementation, and a rank in Python meets a rank in compiled code. Nothing of the
process is in the compiled code: objects come as arguments, or are looked up by name when it runs.
"""

import sys
from typing import Any

_known: set[str] = set()


def register() -> None:
    """Tell numba of what there is, as far as the modules that have it, and need MPI, have been loaded."""
    before = len(_known)
    if "types" not in _known:
        _known.add("types")
        from . import _objects, _package  # noqa: F401
    functions = sys.modules.get("dcomp._functions")
    communicators: Any = sys.modules.get("dcomp._communicator")
    generators: Any = sys.modules.get("dcomp.random")
    if hasattr(communicators, "CartComm") and "methods" not in _known:
        _known.add("methods")
        from ._calls import know_methods

        others = sys.modules["dcomp.engine.requests"].Request, sys.modules["dcomp.engine.plans"].Plan
        for owner in (communicators.Communicator, communicators.CartComm, *others):
            know_methods(owner)
    if hasattr(functions, "allgather_object") and "functions" not in _known:
        _known.add("functions")
        from ._calls import know_functions

        know_functions(functions)
    if hasattr(generators, "Generator") and "generators" not in _known:
        _known.add("generators")
        from ._calls import know_methods

        know_methods(generators.Generator)
    sums = sys.modules.get("dcomp._sums")
    if hasattr(sums, "norm") and "sums" not in _known:
        _known.add("sums")
        from ._sums import know_sums

        know_sums(sums)
    if len(_known) > before:
        _have_numba_look()


def _have_numba_look() -> None:
    """numba looks for what is new when it begins to compile; what comes in the middle of that it has to be shown.

    Not else: at the start of a job that compiles nothing it would load all that it compiles with, SciPy included.
    """
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    if global_compiler_lock.is_locked() and "_toplevel_target_context" in vars(cpu_target):
        cpu_target.target_context.refresh()


def type_of(kind: str, about: Any = 0) -> Any:
    """The type of `dcomp` itself, of reductions, of communicators, of grids of so many axes, of generators, or of
    plans that return what is like this: one for all of a kind.

    It is what objects answer when numba asks them for `_numba_type_`.
    """
    register()
    from numba import typeof

    from . import _objects, _package

    if kind == "grid":
        return _objects.CartType(about)
    if kind == "plan":
        return _objects.PlanType(typeof(about))
    return _package.package if kind == "package" else getattr(_objects, kind)
