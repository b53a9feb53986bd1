"""Reads damaged and hostile weight files by the hundred, and notices whether any of them gets something done.

    python tests/foreign_fuzz.py COUNT SEED FOLDER      # prints a summary in JSON

It runs in a process of its own, because an audit hook cannot be taken off again.
"""

import json
import pickle
import random
import struct
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_files as foreign
import numpy as np
from foreign_files import Call, Name, Persistent, Raw

from ssd_jax.errors import InputError
from ssd_jax.weights.readers import safetensors, torch_legacy, torch_zip

GOLDEN = Path(__file__).parent / "golden"
READERS = {"zip": torch_zip.read, "legacy": torch_legacy.read, "safetensors": safetensors.read}
EXTREME = [0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1]
# Beyond the arrays, which may have 8 times the bytes of the file: what Python needs for a small pickle.
MEMORY = (16, 8 << 20)
# What a reader has no business with; "open" is judged by its path, "import" by whether it is new.
FORBIDDEN = (
    "exec compile code.__new__ os.system os.exec os.posix_spawn os.spawn os.fork os.remove os.rename os.mkdir "
    "os.putenv subprocess.Popen pickle.find_class marshal.loads socket.connect ctypes.dlopen shutil.rmtree "
    "object.__setattr__ object.__delattr__ sys.settrace"
).split()


def payloads(canary: Path) -> list[Any]:
    """Returns values whose unpickling would leave the canary behind, or raise or hang for other reasons."""
    touch = f"touch {canary}"
    write = f"open({str(canary)!r}, 'w').close()"
    empty = Call(Name("collections", "OrderedDict"), ())
    space = Call(Name("argparse", "Namespace"), ())
    dtype = Call(Name("numpy", "dtype"), ("f8", False, True))
    function = Name("torch._utils", "_rebuild_tensor_v2")
    called = [
        Call(Name(module, name), (touch,)) for module in ("os", "posix", "nt") for name in ("system", "popen", "execv")
    ]
    called += [
        Call(Name(module, name), (write,)) for module in ("builtins", "__builtin__") for name in ("eval", "exec")
    ]
    called += [
        Call(Name("subprocess", "Popen"), (["touch", str(canary)],)),
        Call(Name("subprocess", "check_output"), (["touch", str(canary)],)),
        Call(Name("pathlib", "Path.touch"), (str(canary),)),
        Call(Name("builtins", "open"), (str(canary), "w")),
        Call(Name("io", "open"), (str(canary), "w")),
        Call(Name("builtins", "__import__"), ("canary_module",)),
        Call(Name("importlib", "import_module"), ("canary_module",)),
        Name("canary_module", "value"),
        Call(Name("canary_module", "function"), ()),
        Call(Name("runpy", "_run_code"), (write, {})),
        Call(Name("webbrowser", "open"), (f"file://{canary}",)),
        Call(Name("torch.storage", "_load_from_bytes"), (foreign.pickled(Call(Name("os", "system"), (touch,))),)),
        Call(Name("torch.serialization", "load"), (str(canary),)),
        Call(Name("torch.hub", "load"), ("x", "y")),
        Call(Name("pickle", "loads"), (foreign.pickled(Call(Name("os", "system"), (touch,))),)),
        Call(Name("numpy", "load"), (str(canary), None, True)),
        Call(Name("numpy.testing._private.utils", "runstring"), (write, {})),
        # Chains of getattr, through names that are allowed and through those that are not.
        Call(Name("os", "system.__call__"), (touch,)),
        Raw(foreign.emit(Call(Name("builtins", "getattr"), (Name("os", "x"), "y"))) + foreign.emit((touch,)) + b"R"),
        Call(Name("builtins", "getattr"), (Name("collections", "OrderedDict"), "__init__")),
        Call(Name("operator", "attrgetter"), ("system",)),
        Call(Name("functools", "partial"), (Name("os", "system"), touch)),
        Call(Name("collections", "OrderedDict.__init__.__globals__"), ()),
        Call(Name("collections", "OrderedDict.fromkeys"), ([1],)),
        Call(Name("torch._utils", "_rebuild_tensor_v2.__globals__"), ()),
        Call(Name("argparse", "Namespace.__init__.__globals__"), ()),
        Call(Name("argparse", "_sys.modules"), ()),
        Call(Name("collections", "_sys.exit"), ()),
        # BUILD on what stands on the stack: attributes, slots, __setstate__, the functions themselves.
        Call(Name("collections", "OrderedDict"), (), {"__setstate__": Name("os", "system")}),
        Call(Name("argparse", "Namespace"), (), {"__class__": Name("os", "system"), "__reduce__": 1}),
        Call(Name("argparse", "Namespace"), (), (None, {"__setstate__": Name("os", "system")})),
        Raw(foreign.emit(function) + foreign.emit({"__code__": 1, "__globals__": 2}) + b"b"),
        Raw(foreign.emit(Name("torch", "FloatStorage")) + foreign.emit({"dtype": 1}) + b"b"),
        Raw(foreign.emit(dtype) + foreign.emit((3, "<", None, None, None, -1, -1, 63, {"x": 1})) + b"b"),
        Raw(foreign.emit([1]) + foreign.emit({"append": 1}) + b"b"),
        Raw(foreign.emit("text") + foreign.emit({"x": 1}) + b"b"),
        # Other instructions that call, and what is no function.
        Raw(b"(" + foreign.emit(touch) + b"ios\nsystem\n"),
        Raw(b"(" + foreign.emit(Name("os", "system")) + foreign.emit(touch) + b"o"),
        Raw(foreign.emit(Name("os", "system")) + foreign.emit((touch,)) + b"}\x92"),
        Raw(foreign.emit(Name("collections", "OrderedDict")) + b")}\x92"),
        Call(Name("os", "system"), (touch,), opcode=b"\x81"),
        Raw(b"\x82\x01"),
        Raw(b"\x83\x01\x00"),
        Raw(b"\x84\x01\x00\x00\x00"),
        Raw(foreign.emit("os") + foreign.emit("system") + b"\x93" + foreign.emit((touch,)) + b"R"),
        Raw(foreign.emit(1) + foreign.emit("system") + b"\x93"),
        Raw(b"\x97\x98"),
        Raw(b"P0\n"),
        Raw(foreign.emit((touch,)) + foreign.emit((touch,)) + b"R"),
        Raw(foreign.emit(empty) + b")R"),
        Raw(foreign.emit(Name("builtins", "list")) + b")R"),
        # References to something outside.
        Persistent(touch),
        Persistent(("module", Name("os", "system"), "source", touch)),
        Persistent(("module", space, "", "")),
        Persistent(("storage", Name("os", "system"), "0", "cpu", 1)),
        Persistent(("storage", Name("torch", "FloatStorage"), "../../etc/passwd", "cpu", 1)),
        Persistent(("storage", Name("torch", "FloatStorage"), 0, "cpu", 1)),
        Persistent(("storage", Name("torch", "FloatStorage"), "0", "cpu", -1)),
        Persistent(("storage", Name("torch", "FloatStorage"), "0", "cpu", 2**70)),
        Persistent(("storage", Name("torch", "FloatStorage"), "0", "cpu", 2, ("0", 1, 2))),
        # Work and memory.
        Raw(b"]" + b"r\xff\xff\xff\xff"),
        Raw(b"\x8b\xff\xff\xff\x7f"),
        Raw(b"X\xff\xff\xff\xff"),
        Raw(b"\x8d" + b"\xff" * 8),
        Raw(b"\x8e" + b"\xff" * 7 + b"\x7f"),
        Raw(b"\x95" + b"\xff" * 8 + b"N"),
        Raw(b"(" * 20_000 + b"t" * 20_000),
        Raw(b"]" * 20_000 + b"a" * 19_999),
        Raw(b"]q\x00h\x00a"),
        Raw(b"}q\x00" + foreign.emit("x") + b"h\x00s"),
        Raw(b")" + b"q\x00h\x00\x86" * 60 + b"}" + foreign.emit("x") + b"s"),
        Raw(b"}" + b")" + b"q\x00h\x00\x86" * 60 + b"Ns"),
        Raw(b"]" + b"q\x00](h\x00h\x00e" * 60),
        Raw(b"}" + b"q\x00}(" + foreign.emit("a") + b"h\x00" + foreign.emit("b") + b"h\x00u" * 1),
        Raw(b"Q" * 3),
        Raw(b"0" * 3),
        Raw(b"2" * 3),
        Raw(b"t"),
        Raw(b""),
    ]
    return called


def hostile(rng: random.Random, folder: Path) -> tuple[str, bytes]:
    """Puts a payload somewhere into a file that is otherwise good."""
    root, storages = foreign.state_dict(foreign.arrays_of_all_kinds(), legacy=rng.random() < 0.5)
    payload = rng.choice(payloads(folder / "canary"))
    place = rng.randrange(7)
    if place == 0:
        root = payload
    elif place == 1:
        root = {**root, "beside": payload}
    elif place == 2:
        root = {"state_dict": root, "args": Call(Name("argparse", "Namespace"), (), {"a": payload})}
    elif place == 3:
        root = Call(Name("collections", "OrderedDict"), (), {"_metadata": payload})
    elif place == 4:
        root = {**root, "w": foreign.tensor(payload, (1,))}
    elif place == 5:
        shapes: Any = [(payload,), (2**62,), (2**31, 2**31), (-1,), (True,), (1.5,), (0, 2**63), (1,) * 70, payload]
        strides: Any = [(payload,), (0,), (2**62,), (-1,), payload, None, ()]
        where = foreign.storage("0", storages["0"], count=rng.choice([12, 0, 2**61, -1]))
        root = {"w": foreign.tensor(where, rng.choice(shapes), rng.choice(strides) or (), rng.choice(EXTREME))}
    else:
        root = {"w": Call(Name("torch._tensor", "_rebuild_from_type_v2"), (payload, payload, (payload,), payload))}
    if rng.random() < 0.5:
        return "zip", foreign.zip_bytes(root, storages)
    data = foreign.legacy_bytes(root, storages)
    return "legacy", foreign.pickled(payload) + data if rng.random() < 0.2 else data


def instructions(rng: random.Random) -> tuple[str, bytes]:
    """A pickle of random instructions, most of them known."""
    known = b"N\x88\x89JKMG\x8aX\x8cBCTU()\x85\x86\x87t]\x8fae\x90}sucR\x81bQqr\x94hj"
    code = b"".join(
        bytes([rng.choice(known) if rng.random() < 0.97 else rng.randrange(256)])
        + (rng.randbytes(rng.choice([0, 0, 1, 2, 4])) if rng.random() < 0.3 else b"")
        for _ in range(rng.randrange(200))
    )
    return "zip", foreign.zip_bytes(b"\x80\x02" + code + b".", {})


def archive(rng: random.Random) -> tuple[str, bytes]:
    """A zip archive with another fault each."""
    root, storages = foreign.state_dict({"w": np.arange(64, dtype=np.float32)})
    good = foreign.zip_bytes(root, storages)
    directory = good.rindex(b"PK\x05\x06")
    number = struct.pack("<I", rng.choice(EXTREME) & 0xFFFFFFFF)
    place = directory + rng.choice([8, 10, 12, 16])
    bomb = {"data/9": bytes(5_000_000)}
    kinds: list[Callable[[], bytes]] = [
        lambda: foreign.zip_bytes(root, storages, entries=bomb, compression=zipfile.ZIP_DEFLATED),
        lambda: foreign.zip_bytes(root, storages, entries=bomb, compression=zipfile.ZIP_BZIP2),
        lambda: foreign.zip_bytes(root, storages, entries={"../../canary": b"x"}),
        lambda: foreign.zip_bytes(root, storages, folder="/etc/"),
        lambda: foreign.zip_bytes(root, storages, folder="..\\x/"),
        lambda: foreign.zip_bytes(root, storages, entries={"x/data.pkl": b"."}),
        lambda: foreign.zip_bytes(root, storages, entries={"data.pkl": b""}),
        lambda: foreign.zip_bytes(root, storages, entries={"data/0": b""}),
        lambda: foreign.zip_bytes(root, storages, entries={"version": b"9" * 5000}),
        lambda: foreign.zip_bytes(root, storages, entries={"byteorder": rng.randbytes(6)}),
        lambda: foreign.zip_bytes(root, {"0": bytes(rng.choice([0, 255, 257]))}),
        lambda: good[:place] + number[: 2 if place < directory + 12 else 4] + good[place + 4 :],
        lambda: good + rng.randbytes(30),
        lambda: rng.randbytes(30) + good,
        lambda: good[:directory],
        lambda: good[directory:],
        lambda: good + good,
    ]
    return "zip", rng.choice(kinds)()


def header(rng: random.Random) -> tuple[str, bytes]:
    """A safetensors file whose header says something else."""
    entries: Any = {
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
        "__metadata__": {"format": "pt"},
    }
    values = [*EXTREME, -1, 1.5, 1e999, None, True, "F32", "F4", [], {}, [0], [2**64], [[0]], {"a": {}}, "\ud800", ""]
    for _ in range(rng.randrange(1, 3)):
        where = entries[rng.choice(list(entries))]
        key = rng.choice([*where, "extra"])
        if isinstance(where.get(key), list) and where[key] and rng.random() < 0.7:
            where[key][rng.randrange(len(where[key]))] = rng.choice(values)
        elif rng.random() < 0.2:
            where.pop(key, None)
        else:
            where[key] = rng.choice(values)
    data = foreign.safetensors_bytes(entries, bytes(24))
    deep = foreign.safetensors_bytes(b'{"a":' + b"[" * 100_000, b"")
    return "safetensors", rng.choice([data] * 8 + [struct.pack("<Q", rng.choice(EXTREME)) + data[8:], deep])


def damaged(rng: random.Random) -> tuple[str, bytes]:
    """A good file with flipped bits, other numbers, pieces lost or moved."""
    files = {"zip": ["torch_zip.pth"], "legacy": ["torch_legacy.pth", "torch_checkpoint.pth"]}
    kind = rng.choice(["zip", "legacy", "safetensors"])
    data = bytearray((GOLDEN / rng.choice(files.get(kind, ["torch_files.safetensors"]))).read_bytes())
    if kind == "zip" and rng.random() < 0.7:  # as torch.serialization.set_crc32_options(False) writes them
        place = -1
        while (place := data.find(b"PK\x01\x02", place + 1)) >= 0:
            data[place + 16 : place + 20] = bytes(4)
    way = rng.randrange(6)
    begin = rng.randrange(len(data))
    end = min(len(data), begin + rng.choice([1, 4, 8, 64, 1000]))
    if way == 0:
        del data[begin:]
    elif way == 1:
        del data[begin:end]
    elif way == 2:
        data[begin:begin] = data[begin:end]
    elif way == 3:
        data[begin : begin + 8] = struct.pack(rng.choice("<>") + "Q", rng.choice(EXTREME))
    else:
        for _ in range(rng.choice([1, 1, 2, 8, 50])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return kind, bytes(data)


def run(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Reads so many files and returns what happened."""
    sys.path.insert(0, str(folder))
    (folder / "canary_module.py").write_text(f"open({str(folder / 'canary')!r}, 'w').close()\n")
    armed: list[Path] = []
    events: set[str] = set()

    def watch(event: str, arguments: tuple) -> None:
        if not armed:
            return
        if event == "open" and str(arguments[0]) != str(armed[0]):
            events.add(f"open {arguments[0]}")
        elif event == "import" and arguments[0] not in sys.modules:
            events.add(f"import {arguments[0]}")
        elif event in FORBIDDEN:
            events.add(event)

    rng = random.Random(seed)
    makers = [damaged, damaged, lambda rng: hostile(rng, folder), lambda rng: hostile(rng, folder)]
    makers += [instructions, archive, header]
    summary: dict[str, Any] = {"read": 0, "refused": 0, "bad": [], "seconds": 0.0, "memory": 0.0, "messages": {}}
    for name in READERS:  # what is imported late is imported now
        path = folder / "first"
        path.write_bytes(b"PK\x05\x06" + bytes(18))
        try:
            READERS[name](path)
        except InputError:
            continue
    "".encode("cp437")  # of old zip archives
    sys.addaudithook(watch)
    tracemalloc.start()
    for index in range(count):
        kind, data = rng.choice(makers)(rng)
        path = folder / f"file{index % 10}"
        path.write_bytes(data)
        tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.perf_counter()
        outcome = "read"
        armed.append(path)
        try:
            tensors = READERS[kind](path).tensors
            sum(float(np.sum(array != 0)) for array in tensors.values())  # every byte can be reached
        except InputError as error:
            outcome = "refused"
            message = str(error)
            if "\n" in message or not message.isprintable() or len(message) > 600 or str(path) not in message:
                summary["bad"].append(f"{index}: {message}")
            summary["messages"][message.split("but ")[-1][:50]] = index
        except BaseException as error:  # anything else is what is looked for
            summary["bad"].append(f"{index} ({kind}): {type(error).__name__}: {error}")
        armed.clear()
        peak = tracemalloc.get_traced_memory()[1] - before
        summary[outcome] += 1
        summary["seconds"] = max(summary["seconds"], time.perf_counter() - start)
        summary["memory"] = max(summary["memory"], peak / (MEMORY[0] * len(data) + MEMORY[1]))
    summary["messages"] = len(summary["messages"])
    summary |= {"events": sorted(events), "canary": (folder / "canary").exists()}
    # What the files hold does fire where it can.
    armed.append(folder)
    pickle.loads(foreign.pickled(payloads(folder / "canary")[0]))
    return summary | {"control": sorted(events), "control_canary": (folder / "canary").exists()}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))
