"""What crosses between host and devices, on the eight fake devices of one process."""

import jax
import numpy as np
import pytest

from ssd_jax import parallel


@pytest.fixture(scope="module")
def mesh() -> jax.sharding.Mesh:
    return parallel.data_mesh(jax.devices()[:8])


def test_what_was_split_is_gathered_again(mesh):
    tree = {"rows": np.arange(16.0, dtype=np.float32).reshape(8, 2), "flags": np.arange(8) % 2 == 0}
    split = parallel.split(tree, mesh)
    assert len(split["rows"].sharding.device_set) == 8
    found = parallel.gather(split, mesh)
    for name, array in tree.items():
        assert isinstance(found[name], np.ndarray)
        np.testing.assert_array_equal(found[name], array)


def test_a_single_process_gathers_without_a_program_of_its_own(mesh):
    split = parallel.split(np.arange(8), mesh)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel, "_replicator", lambda mesh: pytest.fail("nothing needs to be moved between devices"))
        parallel.gather(split, mesh)


def test_the_maximum_is_that_of_all_devices(mesh):
    assert int(parallel.start_maximum(15, mesh)) == 15 and int(parallel.start_maximum(0, mesh)) == 0


def test_a_batch_that_does_not_fit_the_devices_is_refused(mesh):
    with pytest.raises(ValueError, match="multiple of 8 devices, got 12"):
        parallel.split(np.zeros((12, 3)), mesh)
