"""The section `runtime`: the precision of float32 products and XLA's flag for GPUs that repeat themselves."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from test_training import SIZE, network

from configs import ssd300_voc
from ssd_jax import recipe
from ssd_jax.augment import resample
from ssd_jax.commands import runtime
from ssd_jax.errors import InputError

REPOSITORY = Path(__file__).resolve().parent.parent
FLAG = "--xla_gpu_deterministic_ops"


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """Puts back what a test changes."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    before = jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", before)


def products(function, *arguments) -> list[str]:
    """Returns the lines of the convolutions and matrix products of the program that XLA gets."""
    text = jax.jit(function).lower(*arguments).as_text()
    return [line for line in text.splitlines() if "stablehlo.convolution" in line or "stablehlo.dot_general" in line]


@pytest.mark.parametrize(
    ("precision", "in_the_program"),
    # HIGHEST is the one at which XLA leaves TF32 out on a GPU; DEFAULT and HIGH permit it.
    [("default", "DEFAULT"), ("tensorfloat32", "HIGH"), ("float32", "HIGHEST")],
)
def test_the_precision_reaches_every_product_of_the_network_but_not_the_resampling(precision, in_the_program):
    runtime.configure(matmul_precision=precision, deterministic=False)
    model, _ = network(None, False)
    variables = jax.eval_shape(model.init, jax.random.key(0))
    lines = products(lambda v, x: model.apply(v, x), variables, jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.float32))
    assert len(lines) == 23  # 15 of VGG-16, 2 of the extra stage, 6 of the heads
    for line in lines:
        assert line.count(f"precision {in_the_program}>") == 2  # of image and kernel

    plane, weights = jnp.zeros((8, 8)), jnp.zeros((4, 8))
    lines = products(resample.resample, (plane,) * 3, weights, weights)
    assert len(lines) == 2 and all("precision = [HIGHEST, HIGHEST]" in line for line in lines)


def test_an_unknown_precision_is_refused_with_the_choices():
    message = "config.runtime.matmul_precision: expected one of default, tensorfloat32, float32; got 'tf32'"
    with pytest.raises(InputError, match=message):
        runtime.set_matmul_precision("tf32")


def test_the_base_recipe_changes_nothing():
    flags = os.environ["XLA_FLAGS"]
    runtime.configure(**recipe.plain(ssd300_voc.get_config())["runtime"])
    assert jax.config.jax_default_matmul_precision is None and os.environ["XLA_FLAGS"] == flags


def test_xla_gets_the_flag_beside_those_of_the_user():
    # A new process: this one has devices. XLA ends a process over a flag that it does not know.
    program = (
        "import os, jax; from ssd_jax.commands import runtime; "
        "runtime.configure(matmul_precision='default', deterministic=True); "
        "print(jax.device_count(), os.environ['XLA_FLAGS'])"
    )
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=3", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=100)
    assert result.stdout.split() == ["3", environment["XLA_FLAGS"], f"{FLAG}=true"], result.stderr


def test_a_flag_that_would_come_too_late_is_an_error():
    jax.devices()
    flags = os.environ["XLA_FLAGS"]
    with pytest.raises(RuntimeError, match="before the first use of a device"):
        runtime.configure(matmul_precision="default", deterministic=True)
    assert os.environ["XLA_FLAGS"] == flags


@pytest.mark.parametrize("flags", [f"{FLAG}=true", f"--xla_cpu_enable_fast_math=false {FLAG}"])
def test_a_flag_that_is_there_already_is_left_alone(monkeypatch, flags):
    monkeypatch.setenv("XLA_FLAGS", flags)
    runtime.configure(matmul_precision="default", deterministic=True)
    assert os.environ["XLA_FLAGS"] == flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [(f"{FLAG}=false", f"contradicts {FLAG}=false"), ("flags.txt", "expected flags.*got flags.txt")],
)
def test_flags_that_contradict_or_hide_in_a_file_are_refused(monkeypatch, flags, message):
    monkeypatch.setenv("XLA_FLAGS", flags)
    with pytest.raises(InputError, match=message):
        runtime.configure(matmul_precision="default", deterministic=True)
