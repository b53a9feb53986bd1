"""Damages bytes in every way that a disk, a network or an attacker would, for readers of foreign files."""

import random
from collections.abc import Callable

ABSURD = (
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # -1 as a varint
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # 2**63 - 1
    b"\xff\xff\xff\xff\x0f",  # 2**32 - 1
    b"\xff\xff\xff\xff\x07",  # 2**31 - 1
    b"\xff" * 12,
    b"\x00" * 8,
    (2**40).to_bytes(8, "little"),
    (2**63).to_bytes(8, "little"),
    (2**31 - 1).to_bytes(4, "little"),
    b"(-1, 2)",
    b"(999999999999,)",
    b"../../../../etc/passwd",
    b"/etc/passwd\x00",
)


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _overwrite(rng: random.Random, data: bytearray) -> None:
    start, absurd = rng.randrange(len(data)), rng.choice(ABSURD)
    data[start : start + len(absurd)] = absurd


def _insert(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.choice((*ABSURD, rng.randbytes(rng.randrange(1, 40))))


def _delete(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 8, 100))]


def _repeat(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.choice((1, 10, 200))]
    data[start:start] = piece * rng.choice((1, 3, 50))


def _splice(rng: random.Random, data: bytearray) -> None:
    length = rng.randrange(1, max(2, len(data) // 4))
    here, there = rng.randrange(len(data)), rng.randrange(len(data))
    data[here : here + length] = data[there : there + length]


def _zeros(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((4, 64, 512)))
    data[start:end] = bytes(end - start)


WAYS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _flip, _flip, _truncate, _overwrite, _overwrite),
    *(_insert, _delete, _repeat, _splice, _zeros),
)


def mutate(rng: random.Random, data: bytes, *, head: int = 0) -> bytes:
    """Returns damaged bytes.

    Args:
      rng: what decides.
      data: at least one byte.
      head: so many first bytes are damaged in half of the cases, where headers are a small part of a file; 0: all.
    """
    first = len(data) if not head or rng.random() < 0.5 else min(head, len(data))
    part = bytearray(data[:first])
    for _ in range(rng.choice((1, 1, 2, 4))):
        if part:
            rng.choice(WAYS)(rng, part)
    return bytes(part) + data[first:]
