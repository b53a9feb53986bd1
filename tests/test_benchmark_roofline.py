"""benchmarks/roofline.py: what it counts, and that it times the network's own convolutions."""

import jax
import numpy as np
import pytest

from benchmarks import roofline, subjects, timing


def test_the_layers_are_those_of_the_network():
    layers = roofline.convolutions("SSD300")
    macs = {}
    for layer in layers:
        shapes = [(1, *layer.shape), layer.kernel, layer.kernel[-1:]]
        inputs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
        rows, columns = jax.eval_shape(roofline.program(layer, "forward"), *inputs, None).shape[1:3]
        macs[layer.part] = macs.get(layer.part, 0) + rows * columns * np.prod(layer.kernel)
    assert 2 * sum(macs.values()) == subjects.forward_flops("SSD300")
    assert set(macs) == set(roofline.PARTS) and len(layers) == 13 + 2 + 8 + 12
    assert macs["conv1"] == 300 * 300 * 9 * (3 * 64 + 64 * 64)
    fc6 = next(layer for layer in layers if layer.part == "fc")
    assert fc6.dilation == (6, 6) and fc6.padding == ((6, 6), (6, 6)) and fc6.shape == (19, 19, 512)


def test_operations_and_bytes_are_counted_from_the_shapes():
    layer = roofline.Convolution("conv1", (4, 4, 2), (3, 3, 2, 5), (1, 1), ((1, 1), (1, 1)), (1, 1))
    work = roofline.measure_layer(layer, "forward", 3, "float32", timing.QUICK)
    assert work.operations == 2 * (3 * 4 * 4 * 5) * (3 * 3 * 2)
    assert work.bytes == 4 * (3 * 4 * 4 * 2 + 3 * 3 * 2 * 5 + 3 * 4 * 4 * 5)
    both = roofline.measure_layer(layer, "gradients", 3, "bfloat16", timing.QUICK)
    assert both.operations == 2 * work.operations and both.bytes == work.bytes  # two products of halves of the bytes
    assert work.seconds > 0 and both.seconds > 0


def test_the_nearer_ceiling_is_the_limit():
    limits = {"operations": 1000.0, "bytes": 100.0}
    assert roofline.Work(500, 10, 1).least(limits) == 0.5 and roofline.Work(500, 90, 1).least(limits) == 0.9
    found = roofline.limits_of(roofline.Work(500, 40, 1), limits)
    assert found["limit"] == "products" and found["shares"] == {"operations": 0.5, "bytes": pytest.approx(0.4)}
    assert roofline.limits_of(roofline.Work(500, 60, 1), limits)["limit"] == "memory"


def test_the_table_says_what_was_not_reached(monkeypatch):
    page = roofline.markdown(roofline.measure(True, 0.0))
    assert page.count("skipped: out of time") == 2 * len(roofline.PARTS)
