"""The wire format of Protocol Buffers: fields one after another, by number and wire type.

Source: https://protobuf.dev/programming-guides/encoding/. Stricter than protobuf's own parsers, which
take longer varints and groups: what no writer of Caffe makes is refused.
"""

import mmap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

VARINT, FIXED64, LENGTH, GROUP_START, GROUP_END, FIXED32 = range(6)
MAX_BYTES = 2**31 - 1  # of a message, by protobuf's own rule
_WIDTH = {FIXED64: 8, FIXED32: 4}
_NAMES = ("a varint", "64 bits", "a length", "a group", "the end of a group", "32 bits")
# A network of 1,000 layers has about 20,000 fields. Each takes about a microsecond and may become an object of
# 200 bytes, in a file where it takes 2.
_MAX_FIELDS = 200_000
_TAG_LIMIT = 2**32  # a tag is 32 bits: number << 3 | wire type


class Field(NamedTuple):
    """One field, or several of the same number and fixed width that follow each other without a gap."""

    number: int
    wire_type: int
    value: int  # of a varint, unsigned; else 0
    start: int  # of what follows the length; of fixed widths, of the first tag
    end: int
    count: int  # 1, or how many fixed widths follow each other, each after a tag of one byte


class Wire:
    """Reads fields out of one buffer and counts them, so that a small file cannot make endless work."""

    def __init__(self, data: bytes | mmap.mmap):
        self._data = data
        self._left = _MAX_FIELDS

    def message(self) -> Field:
        """Returns the whole buffer as if it were a field."""
        return Field(0, LENGTH, 0, 0, len(self._data), 1)

    def fields(self, message: Field) -> Iterator[Field]:
        """Yields the fields of a message; nothing is read inside of them.

        Raises:
          ValueError: the bytes are no fields, or there are too many of them.
        """
        if message.wire_type != LENGTH:
            raise ValueError(f"field {message.number} is {_NAMES[message.wire_type]}, expected a message")
        position = message.start
        while position < message.end:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"it has more than {_MAX_FIELDS:,} fields")
            field = self._field(position, message.end)
            position = field.end
            yield field

    def _field(self, begin: int, end: int) -> Field:
        tag, position = self._varint(begin, end)
        number, wire_type = tag >> 3, tag & 7
        if not number or tag >= _TAG_LIMIT:
            raise ValueError(f"byte {begin:,} begins no field")
        if wire_type == VARINT:
            value, stop = self._varint(position, end)
            return Field(number, wire_type, value, position, stop, 1)
        if wire_type == LENGTH:
            length, position = self._varint(position, end)
            if length > end - position:
                raise ValueError(f"the field at byte {begin:,} claims {length:,} bytes of {end - position:,} left")
            return Field(number, wire_type, 0, position, position + length, 1)
        if wire_type not in _WIDTH:
            raise ValueError(f"the field at byte {begin:,} has the wire type {wire_type}, which Caffe does not write")
        stop = position + _WIDTH[wire_type]
        if stop > end:
            raise ValueError(f"the field at byte {begin:,} is cut off")
        if position - begin > 1:  # a tag of several bytes: none of the arrays has it
            return Field(number, wire_type, 0, position, stop, 1)
        count = self._run(begin, end, stop - begin)
        return Field(number, wire_type, 0, begin, begin + count * (stop - begin), count)

    def _run(self, begin: int, end: int, stride: int) -> int:
        """Returns how many fixed widths with the tag at ``begin`` follow each other: arrays that are not packed."""
        most, chunk, count = (end - begin) // stride, 16, 1
        while count < most:
            size = min(chunk, most - count)
            entries = np.frombuffer(self._data, np.uint8, size * stride, begin + count * stride)
            other = np.flatnonzero(entries[::stride] != self._data[begin])
            if other.size:
                return count + int(other[0])
            count, chunk = count + size, 2 * chunk
        return count

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Returns an unsigned number below 2**64 and where it ends."""
        value, begin = 0, position
        for shift in range(0, 70, 7):
            if position >= end:
                raise ValueError(f"the number at byte {begin:,} is cut off")
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 2**64:
                    break
                return value, position
        raise ValueError(f"the number at byte {begin:,} has more than 64 bits")

    def integer(self, field: Field) -> int:
        """Returns one int64 number.

        Raises:
          ValueError: the field is none.
        """
        if field.wire_type != VARINT:
            raise ValueError(f"field {field.number} is {_NAMES[field.wire_type]}, expected a whole number")
        return _signed(field.value)

    def integers(self, field: Field, most: int) -> list[int]:
        """Returns int64 numbers, packed or one.

        Raises:
          ValueError: there are more than ``most``, or the field is none of these.
        """
        if field.wire_type == VARINT:
            return [self.integer(field)]
        if field.wire_type != LENGTH:
            raise ValueError(f"field {field.number} is {_NAMES[field.wire_type]}, expected whole numbers")
        numbers: list[int] = []
        position = field.start
        while position < field.end:
            value, position = self._varint(position, field.end)
            numbers.append(_signed(value))
            if len(numbers) > most:
                raise ValueError(f"field {field.number} has more than {most} numbers")
        return numbers

    def text(self, field: Field, most: int) -> str:
        """Returns a string.

        Raises:
          ValueError: it is longer than ``most`` bytes or not UTF-8, or the field is none.
        """
        if field.wire_type != LENGTH:
            raise ValueError(f"field {field.number} is {_NAMES[field.wire_type]}, expected text")
        if field.end - field.start > most:
            raise ValueError(f"a name has {field.end - field.start:,} bytes, expected at most {most:,}")
        try:
            return self._data[field.start : field.end].decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"the name at byte {field.start:,} is not UTF-8") from error

    def floats(self, fields: Sequence[Field], dtype: type[np.float32] | type[np.float64]) -> np.ndarray:  # [n]
        """Returns the numbers of all fields of an array, packed and not, as a copy that does not need the buffer.

        Raises:
          ValueError: a field is of another width, or its length is not a multiple of it.
        """
        little = np.dtype(dtype).newbyteorder("<")
        fixed = {4: FIXED32, 8: FIXED64}[little.itemsize]
        counts = [self._count(field, little.itemsize, fixed) for field in fields]
        numbers, filled = np.empty(sum(counts), dtype), 0
        for field, count in zip(fields, counts, strict=True):
            if field.end - field.start == count * little.itemsize:  # no tags between
                values = np.frombuffer(self._data, little, count, field.start)
            else:
                entry = np.dtype([("tag", np.uint8), ("value", little)])
                values = np.frombuffer(self._data, entry, count, field.start)["value"]
            numbers[filled : filled + count] = values
            filled += count
        return numbers

    def _count(self, field: Field, width: int, fixed: int) -> int:
        if field.wire_type == fixed:
            return field.count
        if field.wire_type != LENGTH:
            raise ValueError(f"field {field.number} is {_NAMES[field.wire_type]}, expected numbers of {width} bytes")
        if (field.end - field.start) % width:
            raise ValueError(f"an array has {field.end - field.start:,} bytes, expected a multiple of {width}")
        return (field.end - field.start) // width


def _signed(value: int) -> int:
    """Returns what the 64 bits mean as an int64: negative numbers take ten bytes."""
    return value - 2**64 if value >= 2**63 else value
