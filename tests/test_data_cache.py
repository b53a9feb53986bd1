"""The decoded cache: the same batches as without it, never a stale or damaged pixel, and no harm from a crash."""

import errno
import io
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from voc_folder import add_image, annotation, one_object, picture

from ssd_jax import data
from ssd_jax.data import cache, cache_files
from ssd_jax.data.cache import open_cache
from ssd_jax.errors import InputError
from ssd_jax.types import Example

CANVAS = (48, 60)
SHARD = 4  # images, here


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(cache, "SHARD_IMAGES", SHARD)


@pytest.fixture
def folder(tmp_path):
    """Ten images: larger than the canvas and smaller, gray, with transparency, rotated by EXIF, and one cut off."""
    root = tmp_path / "mine"
    rng = np.random.default_rng(0)
    for index in range(6):
        noise = Image.fromarray(rng.integers(0, 255, (80, 100, 3), np.uint8))
        add_image(root, f"large{index}", image=noise)
    add_image(root, "small", annotation(one_object(box=(1, 1, 9, 9)), size=(20, 30)), picture(20, 30))
    add_image(root, "gray", image=picture(80, 100).convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    add_image(root, "turned", annotation(one_object(), size=(100, 80)), picture(80, 100), exif=exif)
    buffer = io.BytesIO()
    picture(80, 100).save(buffer, "JPEG")
    add_image(root, "cut", image=buffer.getvalue()[:700])
    return root


@pytest.fixture
def decoded(monkeypatch):
    """The images decoded so far, in any way; to be cleared by the test."""
    seen, decode_image = [], cache.decode_image

    def spy(image, size, *, limit):
        seen.append(image.stem if isinstance(image, Path) else image)
        return decode_image(image, size, limit=limit)

    monkeypatch.setattr(cache, "decode_image", spy)
    return seen


@pytest.fixture
def written(monkeypatch):
    """The shards written so far; to be cleared by the test."""
    seen, write_shard = [], cache.write_shard

    def spy(path, *arguments):
        seen.append(path)
        write_shard(path, *arguments)

    monkeypatch.setattr(cache, "write_shard", spy)
    return seen


def voc(root):
    return data.make_source(kind="voc", root=str(root), split="train")


def examples_of(root):
    """A list that keeps naming a file after it is gone or no longer an image, as a source opened before would."""
    lines = (root / "ImageSets/Main/train.txt").read_text().split()
    sizes = {"small": (20, 30), "turned": (100, 80)}
    none = np.zeros(0, np.float32)
    sizes |= {"large1": (160, 200)} if (root / "doubled").exists() else {}
    return [Example(path_of(root, name), sizes.get(name, (80, 100)), none, none, none, none, name) for name in lines]


def path_of(root, name):
    return root / "JPEGImages" / f"{name}.jpg"


def shards(store):
    return sorted(store.glob("*/*.shard"))


def read_all(source, store):
    """Returns what the cache gives for each image; None where it cannot be decoded."""
    pixels, result = open_cache(source, CANVAS, store), []
    for index in range(len(source)):
        try:
            result.append(np.array(pixels(index, source[index])))
        except data.ImageError:
            result.append(None)
    return result


def assert_same_images(found, source):
    for index, pixels in enumerate(found):
        example = source[index]
        try:
            wanted = data.decode_image(example.image, example.size, limit=CANVAS)
        except data.ImageError:
            assert pixels is None, example.id
        else:
            np.testing.assert_array_equal(pixels, wanted, err_msg=example.id)


def batches_of(source, store, **options):
    stream = data.make_loader(source, batch_size=3, seed=1, canvas=CANVAS, cache=store, **options)
    training = [next(stream) for _ in range(7)]  # 21 rows: more than two epochs
    stream.close()
    evaluation = data.make_eval_loader(source, batch_size=4, canvas=CANVAS, cache=store, **options)
    return [*training, *(part for batch, valid in evaluation for part in (batch, [valid]))]


def assert_same_batches(found, wanted):
    assert len(found) == len(wanted)
    for batch, other in zip(found, wanted, strict=True):
        for array, expected in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, expected)


def test_batches_are_those_without_a_cache(folder, tmp_path, caplog):
    source = voc(folder)
    wanted = batches_of(source, "", num_threads=0)
    said = [record.message for record in caplog.records if "its place stays empty" in record.message]
    assert len(said) == 2 and "cut" in said[0]  # by the stream of training and by that of evaluation
    for threads in (0, 4, 0):
        caplog.clear()
        assert_same_batches(batches_of(source, tmp_path / "store", num_threads=threads), wanted)
        assert said == [record.message for record in caplog.records if "its place stays empty" in record.message]
    assert len(shards(tmp_path / "store")) == 3  # 10 images, 4 a shard


@pytest.mark.slow
def test_batches_of_worker_processes_are_the_same(folder, tmp_path):
    source = voc(folder)
    found = batches_of(source, tmp_path / "store", num_threads=1, num_workers=2)
    assert_same_batches(found, batches_of(source, "", num_threads=0))


def test_what_a_worker_unpickles_maps_the_files_itself(folder, tmp_path, decoded):
    source = voc(folder)
    sent = pickle.dumps(open_cache(source, CANVAS, tmp_path / "store"))
    assert len(sent) < 5_000  # bytes; the pixels are 10 * 48 * 60 * 3
    decoded.clear()
    received = pickle.loads(sent)
    for index in range(9):
        example = source[index]
        wanted = data.decode_image(example.image, example.size, limit=CANVAS)
        np.testing.assert_array_equal(received(index, example), wanted)
        assert not received(index, example).flags.writeable
    assert decoded == []


def test_a_worker_that_finds_another_shard_in_its_place_decodes(folder, tmp_path, caplog):
    source = voc(folder)
    sent = pickle.dumps(open_cache(source, CANVAS, tmp_path / "store"))
    first, second, _ = shards(tmp_path / "store")
    second.replace(first)
    received = pickle.loads(sent)
    assert "2 shards of " in caplog.text and "are decoded" in caplog.text
    example = source[0]
    np.testing.assert_array_equal(received(0, example), data.decode_image(example.image, example.size, limit=CANVAS))


def test_a_complete_cache_decodes_nothing_and_says_nothing(folder, tmp_path, decoded, caplog):
    source = voc(folder)
    with caplog.at_level(logging.INFO, "ssd_jax.data"):
        read_all(source, tmp_path / "store")
        # 6 of 80x100 reduced to 48x60, one of 20x30, one gray, one turned to 48x38, and the one that is cut: 77 kB.
        message = caplog.records[0].message
        assert message.startswith(f"cache {tmp_path}") and message.endswith(": decoding 10 images, 0.1 MB")
        assert caplog.records[1].message.endswith(": complete after 0 s") and len(caplog.records) == 2
        caplog.clear(), decoded.clear()
        found = read_all(source, tmp_path / "store")
    assert caplog.records == [] and decoded == ["cut"]  # tried for its reason, and to see whether it can be read now
    assert_same_images(found, source)


def rewrite(root):
    add_image(root.parent / "other", "large1", image=picture(80, 100))
    shutil.copy(path_of(root.parent / "other", "large1"), path_of(root, "large1"))


def same_length_but_later(root):
    path = path_of(root, "large1")
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(1, 1))


def mend(root):
    picture(80, 100).save(path_of(root, "cut"))


def restate_size(root):
    """The same file, but its boxes live in a frame twice as large."""
    (root / "doubled").touch()


def add(root):
    add_image(root, "new")


def remove(root):
    path_of(root, "large1").unlink()


@pytest.mark.parametrize(
    ("change", "rebuilt"),
    [(rewrite, 0), (same_length_but_later, 0), (restate_size, 0), (remove, 0), (mend, 2), (add, 2)],
)
def test_only_the_shard_of_a_changed_image_is_rebuilt(folder, tmp_path, change, rebuilt, decoded, written):
    read_all(examples_of(folder), tmp_path / "store")
    assert [path.stem for path in written] == ["00000", "00001", "00002"]
    written.clear(), decoded.clear()
    change(folder)
    examples = examples_of(folder)
    assert_same_images(read_all(examples, tmp_path / "store"), examples)
    assert [path.stem for path in written] == [f"{rebuilt:05d}"]


def test_an_image_put_in_the_middle_or_taken_out_shifts_no_pixels(folder, tmp_path):
    class Named(list):
        name = "mine"

    examples = examples_of(folder)
    for order in (range(10), (3, *range(10)), range(1, 10), range(1, 5), (9, 8, 7), range(4)):
        chosen = Named(examples[index] for index in order)
        assert_same_images(read_all(chosen, tmp_path / "store"), chosen)
        assert len(shards(tmp_path / "store")) == -(-len(chosen) // SHARD)  # and those no longer needed are gone


def test_another_canvas_is_another_cache_and_another_pillow_rebuilds(folder, tmp_path, decoded, monkeypatch, caplog):
    source = voc(folder)
    read_all(source, tmp_path / "store")
    open_cache(source, (30, 30), tmp_path / "store")
    assert len(shards(tmp_path / "store")) == 6
    assert_same_images(read_all(source, tmp_path / "store"), source)
    for name, value in (("PIL.__version__", "0.0"), ("ssd_jax.data.cache.DECODING", 0)):
        decoded.clear()
        monkeypatch.setattr(name, value)
        with caplog.at_level(logging.INFO, "ssd_jax.data"):
            open_cache(source, CANVAS, tmp_path / "store")
        assert len(decoded) == 10 and "(3 of its 3 shards are stale or damaged)" in caplog.text


def test_pixels_of_decode_image_are_those_of_this_decoding_version():
    """When this fails, cache.DECODING is to be raised. No JPEG: its pixels depend on the library, which is asked."""
    rng = np.random.default_rng(0)  # PCG64 is the same everywhere
    deep = Image.fromarray(rng.integers(0, 2**16, (40, 50), np.uint16))
    buffers = [io.BytesIO() for _ in range(2)]
    deep.save(buffers[0], "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(40, 50).save(buffers[1], "PNG", exif=exif)
    images = [rng.integers(0, 255, (40, 50, 3), np.uint8), *(buffer.getvalue() for buffer in buffers)]
    found = [zlib.crc32(np.ascontiguousarray(data.decode_image(image, limit=(30, 30)))) for image in images]
    # Computed with Pillow 13.0.0 by decode_image as of cache.DECODING == 1.
    assert (cache.DECODING, found) == (1, [3206644563, 1630779918, 1842940671])


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, 0),
        lambda path: flip(path, 10),
        lambda path: flip(path, cache_files.HEAD.size + 3),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["magic", "fingerprint", "entries", "short", "long", "head", "empty", "gone"],
)
def test_a_damaged_shard_is_noticed_on_opening_and_rebuilt(folder, tmp_path, damage, decoded):
    source = voc(folder)
    read_all(source, tmp_path / "store")
    decoded.clear()
    damage(shards(tmp_path / "store")[1])
    assert_same_images(read_all(source, tmp_path / "store"), source)
    assert sorted(decoded) == ["cut", "gray", "large4", "large5", "small"]  # the second four; "cut" at each reading


def test_damaged_pixels_are_noticed_at_the_first_reading_and_rebuilt_by_the_next_run(folder, tmp_path, caplog, decoded):
    source = voc(folder)
    read_all(source, tmp_path / "store")
    flip(shards(tmp_path / "store")[0], -1)  # in the last image of the first four
    pixels = open_cache(source, CANVAS, tmp_path / "store")
    for index in (3, 3, 0):  # the damaged one is not used at its second reading either
        wanted = data.decode_image(source[index].image, source[index].size, limit=CANVAS)
        np.testing.assert_array_equal(pixels(index, source[index]), wanted)
    assert [record.message for record in caplog.records] == [
        f"{next((tmp_path / 'store').iterdir())}/00000.shard is damaged (large3); "
        "its images are decoded, and the next run builds it anew"
    ]
    assert len(shards(tmp_path / "store")) == 2
    decoded.clear()
    assert_same_images(read_all(source, tmp_path / "store"), source)
    assert len(decoded) == SHARD + 1 and len(shards(tmp_path / "store")) == 3


def test_an_interrupted_build_goes_on_where_it_stopped(folder, tmp_path, monkeypatch, decoded):
    source, decode_image = voc(folder), cache.decode_image

    def interrupted(image, size, *, limit):
        if image.stem == "gray":  # in the second shard
            raise KeyboardInterrupt
        return decode_image(image, size, limit=limit)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache, "decode_image", interrupted)
        open_cache(source, CANVAS, tmp_path / "store")
    home = next((tmp_path / "store").iterdir())
    assert [path.name for path in home.iterdir()] == ["00000.shard"]  # and nothing half-written
    decoded.clear()
    open_cache(source, CANVAS, tmp_path / "store")
    assert len(decoded) == 6


def test_a_killed_build_leaves_nothing_that_is_taken_for_a_shard(tmp_path):
    code = """
        import sys, time
        import numpy as np
        from ssd_jax.data import cache
        from ssd_jax.types import Example

        cache.SHARD_IMAGES, cache.AHEAD = 4, 0
        none = np.zeros(0)
        image = np.full((30, 40, 3), 7, np.uint8)
        source = [Example(image, (30, 40), none, none, none, none, str(index)) for index in range(8)]
        decode_image = cache.decode_image
        calls = []

        def stuck(*arguments, **options):
            calls.append(1)
            if len(calls) == 7:
                print("ready", flush=True)
                time.sleep(60)
            return decode_image(*arguments, **options)

        cache.decode_image = stuck
        cache.open_cache(source, (48, 60), sys.argv[1])
        """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGKILL)
    (home,) = tmp_path.iterdir()
    partial = next(home.glob("*.partial"))
    assert [path.name for path in home.glob("*.shard")] == ["00000.shard"]
    source = list_of([np.full((30, 40, 3), 7, np.uint8)] * 8)
    open_cache(source, CANVAS, tmp_path)
    assert partial.exists() and len(shards(tmp_path)) == 2  # it may belong to a build that goes on
    os.utime(partial, (time.time() - cache_files.ABANDONED - 1,) * 2)
    open_cache(source, CANVAS, tmp_path)
    assert sorted(path.name for path in home.iterdir()) == ["00000.shard", "00001.shard"]


def list_of(images):
    none = np.zeros(0, np.float32)
    return [
        Example(image, image.shape[:2] if isinstance(image, np.ndarray) else (80, 100), none, none, none, none, f"{i}")
        for i, image in enumerate(images)
    ]


def test_two_builds_at_once_do_no_harm(folder, tmp_path):
    source, gate, results = voc(folder), threading.Barrier(3), [None] * 3

    def build(number):
        gate.wait()
        results[number] = read_all(source, tmp_path / "store")

    threads = [threading.Thread(target=build, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found in results:
        assert_same_images(found, source)
    assert len(list(next((tmp_path / "store").iterdir()).iterdir())) == 3


def test_processes_that_start_at_different_places_share_the_work(folder, tmp_path, monkeypatch, decoded):
    source, built = voc(folder), []
    monkeypatch.setattr(cache, "write_shard", lambda path, *_: built.append(path.stem))
    for share in range(3):
        open_cache(source, CANVAS, tmp_path / "store", start=share / 3)
    assert built[::3] == ["00000", "00001", "00002"] and len(built) == 9


def test_a_shard_that_another_process_has_finished_is_not_built_again(folder, tmp_path, monkeypatch, written):
    source, write_shard = voc(folder), cache.write_shard

    def while_another_builds_all(*arguments):
        monkeypatch.setattr(cache, "write_shard", write_shard)
        open_cache(source, CANVAS, tmp_path / "store")
        write_shard(*arguments)

    monkeypatch.setattr(cache, "write_shard", while_another_builds_all)
    assert_same_images(read_all(source, tmp_path / "store"), source)
    assert [path.stem for path in written] == ["00000", "00001", "00002", "00000"]


def test_no_more_images_are_decoded_ahead_than_memory_should_hold(monkeypatch):
    monkeypatch.setattr(cache, "AHEAD", 2)
    started, ended = [], []
    with ThreadPoolExecutor(8) as pool:
        for number, result in enumerate(
            cache._in_order(pool, lambda item: started.append(item) or -item, range(20), lambda: ended.append(1))
        ):
            assert result == -number and len(started) <= number + 3 and len(ended) == number
    assert len(started) == len(ended) == 20


def test_a_shard_gives_back_what_was_written(tmp_path):
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 255, (5, 7, 3), np.uint8),
        None,
        np.asfortranarray(rng.integers(0, 255, (9, 2, 3), np.uint8)),
    ]
    cache_files.write_shard(tmp_path / "a.shard", b"f" * 16, 3, iter(images))
    shard = cache_files.open_shard(tmp_path / "a.shard", b"f" * 16, 3)
    for row, image in enumerate(images):
        assert shard.sound(row)
        assert (shard.pixels(row) is None) if image is None else (shard.pixels(row) == image).all()
    # 32 bytes of head, 20 an entry, 3 a pixel.
    assert (tmp_path / "a.shard").stat().st_size == 32 + 3 * 20 + 3 * (5 * 7 + 9 * 2)
    assert cache_files.open_shard(tmp_path / "a.shard", b"g" * 16, 3) is None
    assert cache_files.open_shard(tmp_path / "a.shard", b"f" * 16, 2) is None


def test_a_disk_that_is_too_small_is_refused_before_anything_is_decoded(folder, tmp_path, monkeypatch, decoded):
    source = voc(folder)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 50_000))
    with pytest.raises(InputError, match=r"^loader cache: expected 0\.\d MB free .* in .*store.*, found 0\.\d MB$"):
        open_cache(source, CANVAS, tmp_path / "store")
    assert decoded == [] and shards(tmp_path / "store") == []
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 90_000))
    open_cache(source, CANVAS, tmp_path / "store")
    # The first shard, 4 * 48 * 60 * 3 = 35 kB, takes the place of its old file.
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1_000))
    same_length_but_later(folder)
    open_cache(source, CANVAS, tmp_path / "store")


def test_a_disk_that_fills_up_is_one_sentence_and_leaves_nothing_half_written(folder, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache_files.os, "fsync", full)
    with pytest.raises(InputError, match=r"^loader cache: .*store.*: No space left on device$"):
        open_cache(voc(folder), CANVAS, tmp_path / "store")
    assert list(next((tmp_path / "store").iterdir()).iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_sentence(folder, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"^loader cache: expected a folder .*: Not a directory$"):
        data.make_loader(voc(folder), batch_size=2, seed=0, cache=tmp_path / "file" / "store")


def test_a_complete_cache_is_only_read(folder, tmp_path, monkeypatch):
    source = voc(folder)
    read_all(source, tmp_path / "store")
    monkeypatch.setattr(cache, "_build", lambda *_: pytest.fail("a shared cache may be read-only"))
    assert_same_images(read_all(source, tmp_path / "store"), source)


def test_arrays_and_bytes_are_known_by_their_content(tmp_path, decoded):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    picture(80, 100).save(buffer, "JPEG")
    source = list_of(
        [rng.integers(0, 255, (80, 100, 3), np.uint8), np.asfortranarray(picture(20, 30)), buffer.getvalue()]
    )
    assert_same_images(read_all(source, tmp_path), source)
    decoded.clear()
    assert_same_images(read_all([item._replace() for item in source], tmp_path), source)
    assert decoded == []
    source[0].image[0, 0, 0] += 1
    assert_same_images(read_all(source, tmp_path), source)
    buffer = io.BytesIO()
    picture(80, 100).transpose(Image.Transpose.ROTATE_180).save(buffer, "JPEG")
    source[2] = source[2]._replace(image=buffer.getvalue())
    assert_same_images(read_all(source, tmp_path), source)


def test_sources_that_share_a_folder_keep_apart(folder, tmp_path, decoded):
    shapes = [data.ShapesSource(split=split, length=3, image_size=(32, 40)) for split in ("train", "test")]
    listed = examples_of(folder)[:9]
    sources = [*shapes, listed[:4], listed[4:]]
    for source in (*sources, voc(folder)):
        read_all(source, tmp_path / "store")
    decoded.clear()
    for source in sources:
        assert_same_images(read_all(source, tmp_path / "store"), source)
    assert decoded == []


def test_shards_grow_rather_than_that_too_many_files_are_open(monkeypatch):
    monkeypatch.setattr(cache, "MOST_SHARDS", 2)
    source = list_of([np.zeros((2, 2, 3), np.uint8)] * 17)
    assert [plan.rows for plan in cache.make_plans(source, CANVAS, Path())] == [range(0, 16), range(16, 17)]
    assert [len(plan.rows) for plan in cache.make_plans(source[:8], CANVAS, Path())] == [4, 4]
