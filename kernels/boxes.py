"""Parts of arrays that are boxes, such as the layers at a block's faces: gathered in a buffer, and put back.

A table tells where the boxes of one array lie: for arrays of one type, dtype, shape and strides, whatever their
address. Its words: which arrays it is for, then how many boxes are packed and unpacked, and in how many loops; and a
row for each box, those that are packed first: where it begins, in the array and in the buffer, how many bytes lie
together, and the loops around these, with extents and strides, the innermost last.
"""

from numba import int64

from . import words as w
from ._jit import jit, jit_briefly
from ._memory import copy, peek
from ._objects import WRITEABLE, address_of, any_object, is_array
from .words import word


@jit
def _is_like(table, array):
    """Whether an object, None at 0, is an array that the table is for."""
    layout = word(table, w.BOX_LAYOUT)
    if array == 0 or not is_array(array, word(table, w.BOX_DATA), word(table, w.BOX_ARRAY_TYPE), layout, WRITEABLE):
        return False
    strides, fits = peek(array + word(table, w.BOX_DATA) + 24), True
    dimensions = peek(layout + 8)
    for axis in range(dimensions):
        fits = fits and peek(strides + 8 * axis) == peek(layout + 16 + 8 * (dimensions + axis))
    return fits


@jit
def _copy_line(packs, array, stride, buffer, run, count):
    """Between `count` pieces of an array and as many that lie together; the common lengths are one instruction each."""
    for index in range(count):
        there, here = array + index * stride, buffer + index * run
        target, source = (here, there) if packs else (there, here)
        if run == 8:
            copy(target, source, 8)
        elif run == 4:
            copy(target, source, 4)
        elif run == 16:
            copy(target, source, 16)
        else:
            copy(target, source, run)


@jit
def _copy_box(packs, row, loops, array, buffer):
    run, extents, strides = word(row, w.BOX_RUN), row + 8 * w.BOX_EXTENTS, row + 8 * (w.BOX_EXTENTS + loops)
    array, buffer = array + word(row, w.BOX_IN_ARRAY), buffer + word(row, w.BOX_IN_BUFFER)
    lines = 1
    for axis in range(loops - 1):
        lines *= word(extents, axis)
    count, stride = word(extents, loops - 1), word(strides, loops - 1)
    for line in range(lines):
        offset, rest = 0, line
        for axis in range(loops - 2, -1, -1):
            offset += rest % word(extents, axis) * word(strides, axis)
            rest //= word(extents, axis)
        _copy_line(packs, array + offset, stride, buffer + line * count * run, run, count)


@jit_briefly
def pack(buffer, table, array):
    """Gather the boxes that are sent: whether the object is an array that the table is for.

    Cost: each byte is read and written once.
    """
    address = address_of(array)
    if not _is_like(table, address):
        return False
    data, loops = peek(address + word(table, w.BOX_DATA)), word(table, w.BOX_LOOPS)
    for index in range(word(table, w.BOX_PACKED)):
        row = table + 8 * (w.BOX_ROWS + index * (w.BOX_EXTENTS + 2 * loops))
        _copy_box(True, row, loops, data, buffer)
    return True


@jit_briefly
def unpack(array, table, buffer):
    """Put the boxes that were received where they belong; the array has been packed with the same table."""
    data, loops = peek(address_of(array) + word(table, w.BOX_DATA)), word(table, w.BOX_LOOPS)
    packed = word(table, w.BOX_PACKED)
    for index in range(packed, packed + word(table, w.BOX_UNPACKED)):
        row = table + 8 * (w.BOX_ROWS + index * (w.BOX_EXTENTS + 2 * loops))
        _copy_box(False, row, loops, data, buffer)


# What is called from Python, and with what.
CALLED = ((pack, (int64, int64, any_object)), (unpack, (any_object, int64, int64)))
