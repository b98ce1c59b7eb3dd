"""`dcomp` itself in compiled code, where `dc.rank` and `dc.size` must not be constants, as a module's numbers are."""

from typing import Any

from numba import types
from numba.core.imputils import lower_constant, lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import models, register_model

import dcomp

from . import register
from ._objects import Held, constant_of, look_up
from ._rules import place


class PackageType(types.Dummy):
    """The type of `dcomp`; not numba's Module, whose numbers are constants."""

    def __init__(self) -> None:
        super().__init__("Module(dcomp)")


package = PackageType()


register_model(PackageType)(models.OpaqueModel)


@infer_getattr
class _Attributes(AttributeTemplate):
    key = PackageType

    def generic_resolve(self, of: PackageType, name: str) -> Any:  # type: ignore[override]
        if name in ("rank", "size"):
            return types.intp
        value = getattr(dcomp, name)
        register()
        try:
            return self.context.resolve_value_type(value)
        except ValueError:
            raise TypeError(
                f"{name}: compiled code does not know it; call it in Python (dc.{name}{place()})."
            ) from None


@lower_getattr_generic(PackageType)
def _get(context: Any, builder: Any, of: PackageType, value: Any, name: str) -> Any:
    """Numbers and objects are looked up when the code runs; functions need not be."""
    found = types.intp if name in ("rank", "size") else context.typing_context.resolve_value_type(getattr(dcomp, name))
    if found is types.intp or isinstance(found, Held):
        return constant_of(context, builder, found, lambda pyapi: look_up(context, builder, pyapi, "dcomp", name))
    return context.get_constant_generic(builder, found, getattr(dcomp, name))


@lower_constant(PackageType)
def _constant(context: Any, builder: Any, of: PackageType, value: Any) -> Any:
    return context.get_dummy_value()
