"""An interpreter of the pickles that PyTorch writes, which makes tensors and plain values and nothing else.

Why not ``pickle.Unpickler`` with ``find_class`` overridden, which is the usual way: its machine calls
whatever a found class brings along. ``BUILD`` runs ``__setstate__`` or sets attributes, even on the
functions that ``find_class`` returned, which would change this process; ``NEWOBJ`` runs ``__new__``;
a key may be a tuple of tuples whose hash takes 2**50 steps; ``LONG_BINPUT 4294967295`` makes a
table of 64 GiB; an integer may have 2 GiB. Each of these would need a guard around code that is not ours. Here an
instruction does what stands below, no other exists, a name out of a file is compared with a table
(:mod:`ssd_jax.weights.readers.torch_globals`) and never imported, and work is counted before it is
done. The format is that of CPython's Lib/pickletools.py; protocols 2 to 5, as far as PyTorch's files use them.
"""

import pickletools
import struct
from typing import Any

from ssd_jax.weights.readers.torch_globals import construct, find_global, make_key, set_state
from ssd_jax.weights.readers.torch_values import Storage, make_storage

MAX_BYTES = 1 << 25  # of the pickles of a file; those of ResNet-152 have 100 KB
MAX_WORK = 1_000_000  # instructions, and values copied by them; 25 a tensor. Each value takes 200 bytes at most
_MAX_LINE = 300  # letters of a module's or class's name
_TEXT_UNIT = 64  # so many letters copied are as much work as a value


class Machine:
    """What the pickles of one file share: their bytes, how much may still be done, the storages they refer to."""

    def __init__(self, data: bytes):
        self.data = data
        self.position = 0  # of the next byte
        self.storages: dict[str, Storage] = {}  # by key; of parts, any
        self._work = MAX_WORK
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Returns the value of the next pickle and stands behind it.

        Raises:
          ValueError: it is damaged, wants what is not made here, or too much.
        """
        self._stack, self._marks, self._memo = [], [], {}
        while True:
            start = self.position
            try:
                code = self.data[start]
                self.position += 1
                if code == _STOP:
                    return self._stack.pop()
                self._spend(1)
                instruction = _INSTRUCTIONS.get(code)
                if instruction is None:
                    raise ValueError(f"its pickle has {_name(code)} at byte {start}, which no state dict needs")
                instruction(self)
            except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
                raise ValueError(f"its pickle is damaged at byte {start}") from error

    def _spend(self, amount: int) -> None:
        self._work -= amount
        if self._work < 0:
            raise ValueError(f"its pickle takes more than {MAX_WORK:,} steps")

    def _take(self, count: int) -> bytes:
        data = self.data[self.position : self.position + count]
        if len(data) != count:
            raise IndexError("the pickle ends early")
        self.position += count
        return data

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + _MAX_LINE)
        if end < 0:
            raise IndexError("the line has no end")
        return self._take(end + 1 - self.position)[:-1].decode("utf-8")

    def _pop_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _skip(self, count: int) -> None:
        self._take(count)

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _push_integer(self) -> None:
        self._push(int.from_bytes(self._take(self._number("B")), "little", signed=True))

    def _push_text(self, form: str) -> None:
        self._push(self._take(self._number(form)).decode("utf-8"))

    def _push_bytes(self, form: str) -> None:
        self._push(self._take(self._number(form)))

    def _push_old_string(self, form: str) -> None:
        # A str of Python 2 is a name, or the bytes of a NumPy scalar.
        data = self._take(self._number(form))
        try:
            self._push(data.decode("utf-8"))
        except UnicodeDecodeError:
            self._push(data)

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _push_tuple(self, count: int) -> None:
        if count > len(self._stack):
            raise IndexError("the stack is too short")
        start = len(self._stack) - count
        self._stack[start:] = [tuple(self._stack[start:])]

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise ValueError("its pickle appends to what is no list")
        self._stack[-1].extend(items)

    def _update(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not dict or len(items) % 2:
            raise ValueError("its pickle adds items to what is no dictionary")
        self._stack[-1].update((make_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True))

    def _find_global(self) -> None:
        module = self._line()
        self._push(find_global(module, self._line()))

    def _find_stacked_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(module) is not str or type(name) is not str or len(module) + len(name) > _MAX_LINE:
            raise ValueError("its pickle names something by what is no name")
        self._push(find_global(module, name))

    def _construct(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._spend(_size(arguments) + sum(map(_size, arguments if type(arguments) is tuple else ())))
        self._push(construct(function, arguments))

    def _build(self) -> None:
        state = self._stack.pop()
        self._spend(_size(state))
        set_state(self._stack[-1], state)

    def _refer(self) -> None:
        storage = make_storage(self._stack.pop())
        known = self.storages.setdefault(storage.key, storage)
        if (known.dtype, known.untyped, known.count) != (storage.dtype, storage.untyped, storage.count):
            raise ValueError(f"its pickle describes the storage {storage.key[:40]!a} in two ways")
        self._push(storage)

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _recall(self, form: str) -> None:
        self._push(self._memo[self._number(form)])


def _size(value: Any) -> int:
    """Returns how much work it is to copy a value (a list of the pairs of a dictionary, the text of bytes)."""
    if type(value) in (str, bytes):
        return len(value) // _TEXT_UNIT
    return len(value) if type(value) in (list, tuple, dict) else 0


def _name(code: int) -> str:
    known = [instruction.name for instruction in pickletools.opcodes if instruction.code == chr(code)]
    return f"the instruction {known[0]}" if known else "what is no instruction"


_STOP = ord(".")
_INSTRUCTIONS = {
    0x80: lambda machine: machine._skip(1),  # PROTO: each instruction means the same in all of them
    0x95: lambda machine: machine._skip(8),  # FRAME: how many bytes to read ahead
    ord("N"): lambda machine: machine._push(None),
    0x88: lambda machine: machine._push(True),
    0x89: lambda machine: machine._push(False),
    ord("J"): lambda machine: machine._push(machine._number("<i")),
    ord("K"): lambda machine: machine._push(machine._number("B")),
    ord("M"): lambda machine: machine._push(machine._number("<H")),
    ord("G"): lambda machine: machine._push(machine._number(">d")),
    0x8A: Machine._push_integer,  # LONG1
    ord("X"): lambda machine: machine._push_text("<I"),
    0x8C: lambda machine: machine._push_text("B"),  # SHORT_BINUNICODE
    ord("B"): lambda machine: machine._push_bytes("<I"),
    ord("C"): lambda machine: machine._push_bytes("B"),
    ord("T"): lambda machine: machine._push_old_string("<I"),
    ord("U"): lambda machine: machine._push_old_string("B"),
    ord("("): Machine._mark,
    ord(")"): lambda machine: machine._push(()),
    0x85: lambda machine: machine._push_tuple(1),
    0x86: lambda machine: machine._push_tuple(2),
    0x87: lambda machine: machine._push_tuple(3),
    ord("t"): lambda machine: machine._push(tuple(machine._pop_mark())),
    ord("]"): lambda machine: machine._push([]),
    0x8F: lambda machine: machine._push([]),  # EMPTY_SET: sets become lists
    ord("a"): lambda machine: machine._extend([machine._stack.pop()]),
    ord("e"): lambda machine: machine._extend(machine._pop_mark()),
    0x90: lambda machine: machine._extend(machine._pop_mark()),  # ADDITEMS
    ord("}"): lambda machine: machine._push({}),
    ord("s"): lambda machine: machine._update([machine._stack.pop(-2), machine._stack.pop()]),
    ord("u"): lambda machine: machine._update(machine._pop_mark()),
    ord("c"): Machine._find_global,
    0x93: Machine._find_stacked_global,
    ord("R"): Machine._construct,
    0x81: Machine._construct,  # NEWOBJ
    ord("b"): Machine._build,
    ord("Q"): Machine._refer,
    ord("q"): lambda machine: machine._remember(machine._number("B")),
    ord("r"): lambda machine: machine._remember(machine._number("<I")),
    0x94: lambda machine: machine._remember(len(machine._memo)),  # MEMOIZE
    ord("h"): lambda machine: machine._recall("B"),
    ord("j"): lambda machine: machine._recall("<I"),
}
