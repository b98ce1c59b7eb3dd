"""How what a call brings becomes an array or a number, if only the place where it is used tells which."""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_cast
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import box

from ._bridge import Expected
from ._objects import SINGLE, ArrivedType, expected_of, has_failed, leave_if, raise_kept
from ._rules import place


@infer_getattr
class _Attributes(AttributeTemplate):
    key = ArrivedType

    def generic_resolve(self, value: types.Type, name: str) -> Any:  # type: ignore[override]
        raise TypeError(
            f"{name}: the dtype of what arrives is not known in compiled code, where neither x nor out is passed. Pass "
            f"an out, or a variable x that is None on other ranks than the root{place()}."
        )


def _become(context: Any, builder: Any, of: ArrivedType, to: types.Type, value: Any) -> Any:
    """The array or the number. Who casts takes a reference to what is held already: the array is that, too."""
    pyapi, env = context.get_python_api(builder), context.get_env_manager(builder)
    held = cgutils.create_struct_proxy(of)(context, builder, value=value)
    gil = pyapi.gil_ensure()
    take = pyapi.object_getattr_string(env.read_const(env.add_const(Expected(expected_of(to)))), "take")
    leave_if(context, builder, pyapi, gil, cgutils.is_null(builder, take))
    taken = pyapi.call_function_objargs(take, [builder.bitcast(held.object, pyapi.pyobj)])
    pyapi.decref(take)
    leave_if(context, builder, pyapi, gil, cgutils.is_null(builder, taken))
    became = cgutils.alloca_once(builder, context.get_value_type(to))
    builder.store(cgutils.get_null_value(became.type.pointee), became)  # each time, as in a loop
    with builder.if_else(has_failed(builder, pyapi, taken), likely=False) as (failed, succeeded):
        with failed:
            pyapi.decref(taken)
            pyapi.gil_release(gil)
            raise_kept(context, builder)
        with succeeded:
            native = pyapi.to_native_value(to, taken)
            pyapi.decref(taken)  # which is held
            leave_if(context, builder, pyapi, gil, native.is_error)
            result = native.value
            if isinstance(to, types.Array):
                array = context.make_array(to)(context, builder, value=result)
                own, array.meminfo = array.meminfo, held.owner
                result = array._getvalue()
                context.nrt.decref(builder, types.MemInfoPointer(types.voidptr), own)
            builder.store(result, became)
            pyapi.gil_release(gil)
    return builder.load(became)


for _kind in (types.Array, *SINGLE):
    lower_cast(ArrivedType, _kind)(_become)


@box(ArrivedType)
def _box(of: ArrivedType, value: Any, c: Any) -> Any:
    """For Python it is what it is."""
    held = cgutils.create_struct_proxy(of)(c.context, c.builder, value=value)
    found = c.pyapi.object_getattr_string(c.builder.bitcast(held.object, c.pyapi.pyobj), "value")
    c.context.nrt.decref(c.builder, of, value)
    return found
