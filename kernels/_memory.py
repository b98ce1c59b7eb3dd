"""Memory that other processes see, by address: what numba itself has no words for.

Addresses are int64. Loads acquire and stores release, so that what was written before a flag is seen by whoever
has seen the flag.
"""

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._jit import jit

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_LINE = ir.VectorType(_I64, 8)  # 64 bytes, a cache line
_IS_X86 = platform.machine() in ("x86_64", "AMD64")

sched_yield = types.ExternalFunction("sched_yield", types.int32())
process_vm_readv = types.ExternalFunction("process_vm_readv", types.int64(types.int32, *[types.int64] * 5))
process_vm_writev = types.ExternalFunction("process_vm_writev", types.int64(types.int32, *[types.int64] * 5))


def _pointer(builder, address, to=_I64):
    return builder.inttoptr(address, to.as_pointer())


@intrinsic
def load(typingctx, address):
    """The int64 at an address, which another process may be writing."""

    def generate(context, builder, signature, values):
        return builder.load_atomic(_pointer(builder, values[0]), ordering="acquire", align=8)

    return types.int64(types.int64), generate


@intrinsic
def store(typingctx, address, value):
    """Write an int64 that other processes wait for; all that was written before is seen with it."""

    def generate(context, builder, signature, values):
        builder.store_atomic(values[1], _pointer(builder, values[0]), ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def peek(typingctx, address):
    """The int64 at an address, read plainly."""

    def generate(context, builder, signature, values):
        return builder.load(_pointer(builder, values[0]), align=8)

    return types.int64(types.int64), generate


@intrinsic
def pointer_to(typingctx, address):
    """The pointer to the uint64 at an address, for `numba.carray`."""

    def generate(context, builder, signature, values):
        return _pointer(builder, values[0])

    return types.CPointer(types.uint64)(types.int64), generate


@intrinsic
def peek32(typingctx, address):
    """The int32 at an address, read plainly."""

    def generate(context, builder, signature, values):
        return builder.sext(builder.load(_pointer(builder, values[0], _I32), align=4), _I64)

    return types.int64(types.int64), generate


@intrinsic
def poke(typingctx, address, value):
    """Write an int64 plainly."""

    def generate(context, builder, signature, values):
        builder.store(values[1], _pointer(builder, values[0]), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def pause(typingctx):
    """Tell the core that this is a loop that waits."""

    def generate(context, builder, signature, values):
        if _IS_X86:
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def drain(typingctx):
    """Wait until streamed stores are seen by all; a release store does not order them."""

    def generate(context, builder, signature, values):
        if _IS_X86:
            function = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.x86.sse.sfence"), [])
        else:
            builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def cycles(typingctx):
    """The processor's counter of cycles."""

    def generate(context, builder, signature, values):
        function = ir.FunctionType(_I64, [])
        return builder.call(cgutils.get_or_insert_function(builder.module, function, "llvm.readcyclecounter"), [])

    return types.int64(), generate


def prefetch(builder, pointer, writes=False):
    """The code that has a cache line there soon, to read or to write it; what is not there does no harm."""
    byte = _I8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(pointer, byte), _I32(int(writes)), _I32(3), _I32(1)])


@intrinsic
def _request(typingctx, address):
    """Ask for the cache line at an address, to write it."""

    def generate(context, builder, signature, values):
        prefetch(builder, _pointer(builder, values[0], _I8), writes=True)
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def _stream_lines(typingctx, target, source, nbytes):
    """Copy whole lines past the caches; `target` is aligned to 64 bytes, `nbytes` a multiple of 64."""

    def generate(context, builder, signature, values):
        to, source, nbytes = values
        with cgutils.for_range_slice(builder, _I64(0), nbytes, _I64(64), inc=True) as (offset, _):
            line = builder.load(_pointer(builder, builder.add(source, offset), _LINE), align=1)
            stored = builder.store(line, _pointer(builder, builder.add(to, offset), _LINE), align=64)
            stored.set_metadata("nontemporal", builder.module.add_metadata([_I32(1)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def copy(typingctx, target, source, nbytes):
    """memcpy."""

    def generate(context, builder, signature, values):
        to, source, nbytes = values
        cgutils.raw_memcpy(builder, _pointer(builder, to, _I8), _pointer(builder, source, _I8), nbytes, 1, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def combine(typingctx, function, out, a, b, count):
    """Call the C function at an address: ``out[i] = a[i] op b[i]`` for `count` elements; see `combine.folder`."""

    def generate(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [_I64] * 5)
        in_place = builder.zext(builder.icmp_signed("==", values[1], values[2]), _I64)
        builder.call(_pointer(builder, values[0], kind), [*values[1:], in_place])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


_AHEAD = 2048  # bytes requested before they are written


@jit
def copy_requested(target, source, nbytes):
    """Copy to lines that sit in another core's cache: each is asked for ahead of its writing."""
    for offset in range(0, min(nbytes, _AHEAD), 64):
        _request(target + offset)
    for start in range(0, nbytes, _AHEAD):
        for offset in range(start + _AHEAD, min(nbytes, start + 2 * _AHEAD), 64):
            _request(target + offset)
        copy(target + start, source + start, min(_AHEAD, nbytes - start))


@jit
def copy_past(target, source, nbytes):
    """Copy past the caches; complete after a `drain`."""
    head = min(-target & 63, nbytes)
    copy(target, source, head)
    lines = (nbytes - head) & ~63
    _stream_lines(target + head, source + head, lines)
    done = head + lines
    copy(target + done, source + done, nbytes - done)


@jit
def copy_streamed(target, source, nbytes):
    """Copy past the caches; complete when it returns."""
    copy_past(target, source, nbytes)
    drain()
