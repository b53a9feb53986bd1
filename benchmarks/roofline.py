"""What limits each part of the network? Its convolutions one by one, against the measured ceilings of the machine.

Operations and bytes are counted from the shapes: two operations a multiply-accumulate; each array is read or written
once. The least time that both ceilings (matrix products, memory) allow is what the measured one is held against.
"bias, ReLU" belong to the forward pass. The gradients by input and by kernel are measured as one program.

python benchmarks/roofline.py [--json FILE] [--quick] [--seconds S]
"""

import functools
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import subjects, tables, timing
from benchmarks.runner import OUT_OF_TIME
from ssd_jax import parallel
from ssd_jax.models.convolution import conv_general_dilated

QUESTION = "roofline"
DIMENSIONS = ("NHWC", "HWIO", "NHWC")
COLUMNS = ("part", "direction", "batch", "precision", "GFLOP", "MB", "FLOP/byte", "ms")
COLUMNS += ("of the matrix peak", "of the memory's", "limit", "least ms / ms")
PARTS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc", "extras", "heads")


class Convolution(NamedTuple):
    """One layer."""

    part: str  # of PARTS
    shape: tuple[int, ...]  # (rows, columns, channels) of the input
    kernel: tuple[int, ...]  # [h, w, C, F]
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, int]


def convolutions(network: str) -> list[Convolution]:
    """Lists the convolutions of a network in the order in which they run, from an abstract forward pass."""
    found = []

    def record(call: Any, arguments: Any, options: Any, context: Any) -> Any:
        module = context.module
        output = call(*arguments, **options)
        if isinstance(module, nn.Conv) and context.method_name == "__call__":
            kernel = module.variables["params"]["kernel"].shape
            pads = tuple((int(low), int(high)) for low, high in _pairs(module.padding))
            shape = tuple(arguments[0].shape[1:])
            strides, dilation = _pair(module.strides), _pair(module.kernel_dilation)
            found.append(Convolution(_part(module.path), shape, kernel, strides, pads, dilation))
        return output

    model, _ = subjects.build(network, "float32")
    images = jax.ShapeDtypeStruct((1, *subjects.image_size(network), 3), jnp.float32)
    with nn.intercept_methods(record):
        jax.eval_shape(lambda variables, images: model.apply(variables, images), model.shapes, images)
    return found


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value or (1, 1))  # pyright: ignore[reportReturnType]


def _pairs(padding: Any) -> list[tuple[int, int]]:
    if isinstance(padding, int):
        return [(padding, padding)] * 2
    return [(side, side) if isinstance(side, int) else tuple(side) for side in padding]  # pyright: ignore


def _part(path: Sequence[str]) -> str:
    where, name = path[0], path[-1]
    if where != "backbone":
        return where
    return "fc" if name.startswith("fc") else name.partition("_")[0]


def program(layer: Convolution, direction: str) -> Any:
    """Returns what is timed, of x [B, H, W, C], kernel, bias [F] and, for the gradients, that by the result."""
    convolve = functools.partial(
        conv_general_dilated,
        window_strides=layer.strides,
        padding=layer.padding,
        rhs_dilation=layer.dilation,
        dimension_numbers=DIMENSIONS,
    )
    if direction == "forward":
        return lambda x, kernel, bias, gradient: nn.relu(convolve(x, kernel) + bias)
    return lambda x, kernel, bias, gradient: jax.vjp(convolve, x, kernel)[1](gradient)


class Work(NamedTuple):
    """What a part costs."""

    operations: float
    bytes: float
    seconds: float

    def least(self, ceilings: Mapping[str, float]) -> float:
        """Returns the seconds that the slower of both ceilings allows."""
        return max(self.operations / ceilings["operations"], self.bytes / ceilings["bytes"])


def measure_layer(layer: Convolution, direction: str, batch: int, precision: str, effort: timing.Effort) -> Work:
    """Times one convolution on random numbers."""
    random, dtype = np.random.default_rng(0), jnp.dtype(precision)
    x, kernel = (
        jax.device_put(random.standard_normal(shape, np.float32)).astype(dtype)
        for shape in ((batch, *layer.shape), layer.kernel)
    )
    bias = jnp.zeros(layer.kernel[-1:], dtype)
    forward = program(layer, "forward")
    result = jax.eval_shape(forward, x, kernel, bias, None)
    gradient = jax.device_put(random.standard_normal(result.shape, np.float32)).astype(dtype)
    run, _ = subjects.compile_apart(parallel.compile(program(layer, direction)), x, kernel, bias, gradient)
    found = timing.measure(lambda: run(x, kernel, bias, gradient), jax.block_until_ready, effort=effort)
    macs = math.prod(result.shape) * math.prod(layer.kernel[:3])
    arrays = x.nbytes + kernel.nbytes + gradient.nbytes
    if direction == "forward":
        return Work(2 * macs, arrays, found.median)
    return Work(4 * macs, 2 * arrays, found.median)  # two products; each reads two of the three and writes one


def bandwidth(*, quick: bool) -> float:
    """Measures the bytes a second of reading one large array and writing another."""
    numbers = jnp.ones(1 << (12 if quick else 26), jnp.float32)
    add = parallel.compile(lambda numbers: numbers + 1)
    effort = timing.QUICK if quick else timing.FULL._replace(seconds=0.5)
    found = timing.measure(lambda: add(numbers), jax.block_until_ready, effort=effort)
    return 2 * numbers.nbytes / found.median


def cases(device: str, quick: bool) -> tuple[str, list[tuple[int, str]]]:
    """Returns the network, and pairs of batch size and precision."""
    if quick:
        return "tiny", [(2, "float32")]
    return "SSD300", [(4, "float32")] if device == "cpu" else [(32, "bfloat16"), (32, "float32")]


def measure(quick: bool, deadline: float) -> dict[str, Any]:
    """Measures each different convolution once; parts sum those that they have."""
    device = jax.default_backend()
    network, wanted = cases(device, quick)
    effort = timing.QUICK if quick else timing.FULL._replace(seconds=0.3, least=3, warm_up=1)
    ceilings = {precision: subjects.matrix_tflops(precision, quick=quick) for _, precision in wanted}
    bytes_a_second, rows, layers = bandwidth(quick=quick), [], convolutions(network)
    for batch, precision in wanted:
        limits = {"operations": 1e12 * ceilings[precision], "bytes": bytes_a_second}
        measured = functools.cache(functools.partial(measure_layer, batch=batch, precision=precision, effort=effort))
        for direction in ("forward", "gradients"):
            for part in PARTS:
                mine = [layer for layer in layers if layer.part == part]
                case = {"part": part, "direction": direction, "batch": batch, "precision": precision}
                if time.monotonic() > deadline:
                    rows.append({**case, "error": OUT_OF_TIME})
                elif mine:
                    works = [measured(layer, direction) for layer in mine]
                    least = sum(work.least(limits) for work in works)
                    whole = Work(*(sum(values) for values in zip(*works, strict=True)))
                    rows.append(
                        {
                            **case,
                            **whole._asdict(),
                            "least_seconds": least,
                            "layers": len(mine),
                            **limits_of(whole, limits),
                        }
                    )
    head = tables.head(QUESTION, quick, device)
    return {
        **head,
        "network": network,
        "matrix_tflops": ceilings,
        "gigabytes_per_second": bytes_a_second / 1e9,
        "rows": rows,
    }


def limits_of(work: Work, limits: Mapping[str, float]) -> dict[str, Any]:
    """Returns the shares of both ceilings that a part reaches, and which of them is nearer."""
    shares = {name: getattr(work, name) / work.seconds / limit for name, limit in limits.items()}
    nearer = max(shares, key=lambda name: shares[name])
    return {"shares": shares, "limit": {"operations": "products", "bytes": "memory"}[nearer]}


def markdown(result: Mapping[str, Any]) -> str:
    """Returns the description of the machine and the table."""
    peaks = ", ".join(f"{name} {tables.number(value)} TFLOP/s" for name, value in result["matrix_tflops"].items())
    note = (
        f"{result['network']}; matrix products: {peaks}; memory: {tables.number(result['gigabytes_per_second'])} GB/s"
    )
    return tables.page(result, [note], tables.table(COLUMNS, [_cells(row) for row in result["rows"]]))


def _cells(row: Mapping[str, Any]) -> list[str]:
    case = [row["part"], row["direction"], str(row["batch"]), row["precision"]]
    if "error" in row:
        return [*case, row["error"], *[""] * (len(COLUMNS) - 5)]
    return [
        *case,
        tables.number(row["operations"] / 1e9),
        tables.number(row["bytes"] / 1e6),
        tables.number(row["operations"] / row["bytes"]),
        tables.number(1e3 * row["seconds"]),
        tables.percent(row["shares"]["operations"]),
        tables.percent(row["shares"]["bytes"]),
        row["limit"],
        tables.percent(row["least_seconds"] / row["seconds"]),
    ]


if __name__ == "__main__":
    sys.exit(tables.main(measure, markdown, "Holds each convolution against the machine. See docs/performance.md."))
