"""Writing an export: under a temporary name, compared with the live model, and only then under its own."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.export
import numpy as np

from ssd_jax import parallel
from ssd_jax.errors import InputError
from ssd_jax.export import comparing, stablehlo
from ssd_jax.export.pictures import Pictures
from ssd_jax.export.program import make_exportable
from ssd_jax.weights import TrainedNetwork, published

STABLEHLO, ONNX, SAFETENSORS = FORMATS = ("stablehlo", "onnx", "safetensors")
DEFAULT_PLATFORMS = ("cpu", "cuda", "tpu")
Run = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]  # (canvas, size) -> outputs by name


class Options(NamedTuple):
    """What an export is to be."""

    format: str  # one of FORMATS
    nms: bool = True  # whether suppression is inside
    batch_size: int | None = None  # None: any
    platforms: tuple[str, ...] | None = None  # of StableHLO; None: DEFAULT_PLATFORMS


def export(trained: TrainedNetwork, path: str | os.PathLike[str], options: Options, pictures: Pictures) -> str:
    """Writes an export that gives what the live model gives on some pictures.

    Args:
      trained: of ``weights.read``.
      path: of the file; an earlier one is replaced when the new one has been compared.
      options: what it is to be.
      pictures: that both detect in.

    Returns:
      The figures of the comparison, one line.

    Raises:
      InputError: if the options make no sense, the file cannot be written, or it gives something else; then no file
        is left, and an earlier one stays.
    """
    _check(path, options)
    if options.format == ONNX:
        trained = in_float32(trained)
    with _temporary(Path(path)) as temporary:
        run = _write(temporary, trained, options)
        comparison, tolerance = _compare(trained, run, options, pictures)
        if not comparison.within(tolerance):
            raise InputError(
                f"{path}: not written, since it gives something else than the live model on {pictures.name}: "
                f"{comparison.line()}; expected at most {tolerance.pixels} pixels, score {tolerance.score} and "
                f"{tolerance.unpaired:.1%} without a partner"
            )
        try:
            os.replace(temporary, os.path.realpath(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    if not comparison.expected:
        return f"{comparison.line()}; where nothing is found, nothing is compared: give pictures with objects"
    return comparison.line()


def in_float32(trained: TrainedNetwork) -> TrainedNetwork:
    """Returns a network whose convolutions compute in float32, whatever its recipe says."""
    model = {**trained.recipe["model"], "dtype": "float32"}
    return trained._replace(recipe={**trained.recipe, "model": model})


def _check(path: str | os.PathLike[str], options: Options) -> None:
    """Refuses what would fail only after the program has been made."""
    if not os.fspath(path) or os.path.isdir(path):
        raise InputError(
            f"--output: expected a file to write, got {os.fspath(path) + ', a folder' if path else 'none'}"
        )
    if options.format not in FORMATS:
        raise InputError(f"--format: expected one of {', '.join(FORMATS)}, got {options.format!r}")
    if options.batch_size is not None and options.batch_size < 1:
        raise InputError(f"--batch_size: expected at least 1, got {options.batch_size}")
    if options.format == SAFETENSORS and (not options.nms or options.batch_size is not None):
        raise InputError("--format=safetensors: expected neither --nms=False nor --batch_size; it holds no program")
    if options.format != STABLEHLO and options.platforms is not None:
        raise InputError(f"--platforms: expected --format=stablehlo, got {options.format}, which depends on none")
    if options.format == STABLEHLO:
        platforms, here = _platforms(options), jax.export.default_export_platform()
        stablehlo.check_platforms(platforms)
        if here not in platforms:
            raise InputError(
                f"--platforms: expected {here} among them, on which JAX runs here, so that the program can be "
                f"compared with the live model; got {', '.join(platforms)}"
            )


def _platforms(options: Options) -> tuple[str, ...]:
    return DEFAULT_PLATFORMS if options.platforms is None else options.platforms


def _write(path: Path, trained: TrainedNetwork, options: Options) -> Run:
    """Writes the file and returns what runs it, read from the file."""
    chosen = {"nms": options.nms, "batch_size": options.batch_size}
    if options.format == STABLEHLO:
        stablehlo.write(path, make_exportable(trained, **chosen), platforms=_platforms(options))
        return stablehlo.open_runner(path)
    if options.format == ONNX:
        try:
            from ssd_jax.export import to_onnx
        except ImportError as error:
            raise InputError(
                f'--format=onnx: needs pip install "onnx>=1.17" "onnxruntime>=1.20.1" ({error})'
            ) from error
        to_onnx.write(path, trained, **chosen)
        return to_onnx.open_runner(path)
    published.write(path, trained)
    return _live(published.read(path), nms=True)


def _compare(
    trained: TrainedNetwork, run: Run, options: Options, pictures: Pictures
) -> tuple[comparing.Comparison, comparing.Tolerance]:
    full = options.format == ONNX or jax.default_backend() == "cpu"
    tolerance = comparing.FULL if full else comparing.REDUCED
    # ONNX Runtime computes on the CPU, in full; of JAX's devices some do not, unless they are told to.
    with jax.default_matmul_precision("float32") if options.format == ONNX else contextlib.nullcontext():
        expected = _live(trained, nms=options.nms)(pictures.canvas, pictures.size)
    found = _in_batches(run, pictures, options.batch_size)
    if options.nms:
        return comparing.compare_detections(expected, found, pictures.size, tolerance), tolerance
    threshold = float(trained.recipe["detect"]["score_threshold"])
    compared = comparing.compare_candidates(expected, found, pictures.size, score_threshold=threshold)
    return compared, tolerance


def _live(trained: TrainedNetwork, *, nms: bool) -> Run:
    exportable = make_exportable(trained, nms=nms)
    call, variables = parallel.compile(exportable.function), jax.device_put(exportable.weights)
    return lambda canvas, size: jax.device_get(call(variables, canvas, size))


def _in_batches(run: Run, pictures: Pictures, batch_size: int | None) -> dict[str, np.ndarray]:
    """Runs all pictures; with a fixed batch size the last batch repeats its first picture."""
    total = len(pictures.size)
    rows = batch_size or total
    parts = []
    for start in range(0, total, rows):
        index = np.arange(start, start + rows)
        index[index >= total] = start
        parts.append(run(pictures.canvas[index], pictures.size[index]))
    return {key: np.concatenate([part[key] for part in parts])[:total] for key in parts[0]}


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Yields a name beside a file, deletes what still has it in the end, and keeps it out of messages."""
    temporary = Path(os.path.realpath(path)).parent / f".ssd_jax-{secrets.token_hex(8)}.tmp"
    try:
        yield temporary
    except InputError as error:
        raise InputError(str(error).replace(str(temporary), str(path))) from error
    finally:
        temporary.unlink(missing_ok=True)
