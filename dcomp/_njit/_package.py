"""`dcomp` itself in compiled code, where `dc.rank` and `dc.size` must not be constants, as a module's numbers are."""

from typing import Any

from numba import types
from numba.core.imputils import lower_constant, lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import models, register_model, typeof_impl

import dcomp

from . import register
from ._objects import constant_of, look_up


class PackageType(types.Dummy):
    """The type of `dcomp`; not numba's Module, whose numbers are constants."""

    def __init__(self) -> None:
        super().__init__("Module(dcomp)")


register_model(PackageType)(models.OpaqueModel)


@typeof_impl.register(type(dcomp))
def _type_of(value: Any, _: Any) -> types.Type:
    return PackageType()


@infer_getattr
class _Attributes(AttributeTemplate):
    key = PackageType

    def generic_resolve(self, of: PackageType, name: str) -> Any:  # type: ignore[override]
        if name in ("rank", "size"):
            return types.intp
        value = getattr(dcomp, name)
        register()
        return self.context.resolve_value_type(value)


@lower_getattr_generic(PackageType)
def _get(context: Any, builder: Any, of: PackageType, value: Any, name: str) -> Any:
    if name in ("rank", "size"):
        return constant_of(context, builder, types.intp, lambda pyapi: look_up(context, builder, pyapi, "dcomp", name))
    found = context.typing_context.resolve_value_type(getattr(dcomp, name))
    return context.get_constant_generic(builder, found, getattr(dcomp, name))


@lower_constant(PackageType)
def _constant(context: Any, builder: Any, of: PackageType, value: Any) -> Any:
    return context.get_dummy_value()
