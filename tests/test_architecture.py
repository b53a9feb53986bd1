"""Rules of the house, held by reading the source: who imports whom, and where JAX compiles."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "ssd_jax"

# Rooms in their order: each imports only from rooms before it (and a package from itself).
ROOMS = (
    "types",
    "errors",
    "files",
    "processes",
    "boxes",
    "priors",
    "matching",
    "losses",
    "postprocess",
    "augment",
    "models",
    "optim",
    "recipe",
    "parallel",
    "checkpoint",
    "visualize",
    "page",
    "data",
    "weights",
    "evaluation",
    "analysis",
    "objective",
    "training",
    "artifact",
    "media",
    "inference",
    "inspection",
    "export",
    "commands",
)

# Where each of these may be imported; everything else in the library has to do without.
CONFINED = {
    "flax": "models/",
    "orbax": "checkpoint/",
    "grain": "data/loader.py",
    "tensorflow": "data/tfds.py",
    "tensorflow_datasets": "data/tfds.py",
    "pycocotools": "evaluation/coco_engines.py",
    "h5py": "weights/readers/hdf5_index.py",
    "hotcoco": "evaluation/coco_engines.py",
    "tensorboardX": "commands/tensorboard.py",
    "av": "media/video_",
    "onnx": "export/to_onnx/",
    "onnxruntime": "export/to_onnx/",
    "starlette": "commands/serve/",
    "uvicorn": "commands/serve/",
}
COMPILES = {"jit", "pmap", "shard_map"}

SOURCES = sorted(PACKAGE.rglob("*.py"))
everywhere = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Yields the dotted name of everything imported, inside of functions too; `package` resolves relative ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *(node.module or "").split("."))).strip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imports_of(path: Path) -> list[str]:
    package = path.relative_to(REPOSITORY).parent.parts
    return list(imported(ast.parse(path.read_text(encoding="utf-8")), package))


def compiles(tree: ast.AST) -> list[int]:
    """Returns the lines on which jit, pmap or shard_map is taken from a module."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in COMPILES:
            lines.append(node.lineno)
        elif isinstance(node, ast.ImportFrom) and any(alias.name in COMPILES for alias in node.names):
            lines.append(node.lineno)
        elif isinstance(node, ast.Import) and any(alias.name.split(".")[-1] in COMPILES for alias in node.names):
            lines.append(node.lineno)
    return lines


def test_every_room_has_its_place():
    found = {room_of(path) for path in SOURCES} - {"__init__"}
    assert found <= set(ROOMS), "a new room needs a place in ROOMS and in docs/architecture.md"


@everywhere
def test_imports_point_upward_only(path):
    room = room_of(path)
    allowed = set() if room == "__init__" else set(ROOMS[: ROOMS.index(room) + 1])
    if not (PACKAGE / room).is_dir():
        allowed.discard(room)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "ssd_jax" and len(parts) > 1 and parts[1] != "__version__":
            assert parts[1] in allowed, f"{room} imports {name}, which lies below it"


@everywhere
def test_heavy_libraries_stay_in_their_place(path):
    place = path.relative_to(PACKAGE).as_posix()
    for name in imports_of(path):
        confined = CONFINED.get(name.split(".")[0])
        assert confined is None or place.startswith(confined), f"{name} belongs to {confined} alone"


@everywhere
def test_only_parallel_compiles_or_maps(path):
    if path != PACKAGE / "parallel.py":
        lines = compiles(ast.parse(path.read_text(encoding="utf-8")))
        assert not lines, f"jit, pmap or shard_map on line {lines}; it belongs to parallel.py"


@everywhere
def test_no_assert_and_no_change_of_the_jax_config(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: raise ValueError or InputError instead"
        if room_of(path) != "commands":
            changed = isinstance(node, ast.Attribute) and ast.unparse(node) == "jax.config"
            assert not changed, f"line {node.lineno}: only the commands may change jax.config"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import ssd_jax.losses", ["ssd_jax.losses"]),
        ("from ssd_jax import losses as x", ["ssd_jax.losses"]),
        ("from ssd_jax.losses import normalize", ["ssd_jax.losses.normalize"]),
        ("def f():\n  from . import loader", ["ssd_jax.data.loader"]),
        ("from ..losses import normalize", ["ssd_jax.losses.normalize"]),
    ],
)
def test_the_reader_sees_every_form_of_import(source, expected):
    assert list(imported(ast.parse(source), ("ssd_jax", "data"))) == expected


@pytest.mark.parametrize(
    "source",
    [
        "jax.jit(f)",
        "@partial(jax.jit)\ndef f(): ...",
        "from jax import pmap",
        "jax.experimental.shard_map.shard_map(f)",
    ],
)
def test_the_reader_sees_every_form_of_compilation(source):
    assert compiles(ast.parse(source))


def test_pure_modules_import_nothing_heavy():
    heavy = [
        "flax",
        "orbax",
        "grain",
        "tensorflow",
        "tensorflow_datasets",
        "ml_collections",
        "pycocotools",
        "torch",
        "cv2",
    ]
    program = (
        "import sys\n"
        "from ssd_jax import boxes, priors, matching, losses, postprocess, augment\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
