"""The cache of kernels: they come from it without what compiling alone needs.

numba's own would import what it compiles with, SciPy included, which takes longer than all else at the start of a job;
and have LLVM read what other code could inline, which takes two thirds of the rest.
"""

from collections.abc import Iterable
from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import compile_result
from numba.core.runtime import rtsys

from ._node_cache import Contents, NodeCache


class _Library(JITCodeLibrary):
    """Machine code from the cache, and LLVM's form of it, unread."""

    def __init__(self, codegen: Any, name: str, machine_code: bytes, bitcode: bytes, symbols: Iterable[str]) -> None:
        super().__init__(codegen, name)
        self._bitcode = bitcode
        self.enable_object_caching()
        self._set_compiled_object(machine_code)
        self._finalize_final_module()
        codegen._engine._defined_symbols.update(symbols)

    def _get_module_for_linking(self) -> Any:
        """What other code, in which this is called, may inline."""
        if self._shared_module is None:
            self._shared_module = llvm.parse_bitcode(self._bitcode)
        return self._shared_module


class _Contents(Contents):
    """What numba has in an entry, and the names of what is defined, which it would find in LLVM's form."""

    def reduce(self, result: Any) -> tuple:
        module = result.library._get_module_for_linking()
        of_module = (*module.functions, *module.global_variables)
        return result._reduce(), [value.name for value in of_module if not value.is_declaration]

    def rebuild(self, target_context: Any, contents: tuple) -> Any:
        reduced, symbols = contents
        (name, _, code), fndesc, env, signature, objectmode, lifted, annotation, reload_init, environments = reduced
        for function in reload_init:
            function()
        codegen = target_context.codegen()
        library = _Library(codegen, name, *code, symbols)
        for one in environments:
            codegen.set_env(one.env_name, one)
        return compile_result(
            target_context=target_context, typing_context=target_context.typing_context, library=library,
            environment=env, entry_point=target_context.get_executable(library, fndesc, env), fndesc=fndesc,
            type_annotation=annotation, signature=signature, objectmode=objectmode, lifted=lifted,
            reload_init=reload_init, referenced_envs=environments,
        )  # fmt: skip


class KernelCache(NodeCache):
    """The cache of a function that uses nothing of numba's own library beyond the language itself."""

    _impl_class = _Contents

    def _load(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)  # names that compiled code refers to
        return self._load_overload(sig, target_context)
