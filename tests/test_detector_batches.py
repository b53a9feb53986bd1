"""How a detector works: threads that read and threads that ask, which programs are compiled, what overlaps."""

import threading
import time

import numpy as np
import pytest
import trained_network as tiny
from PIL import Image, ImageSequence
from test_detector import toy

from ssd_jax.inference import pictures
from ssd_jax.inference.compiled import Programs

SOON = 20.0  # seconds, after which a thread counts as hanging


class Compiling:
    """A function to compile: it takes its time, and counts."""

    def __init__(self, work=lambda size: time.sleep(0.05)):
        self.work, self.compiled = work, []

    def lower(self, size):
        self.size = size
        return _Lowered(self, size)


class _Lowered:
    def __init__(self, function, size):
        self.function, self.size = function, size

    def compile(self):
        self.function.work(self.size)
        self.function.compiled.append(self.size)
        return f"program of {self.size}"


def in_threads(*calls):
    """Calls functions in threads of their own, which begin together; returns their results."""
    barrier, results = threading.Barrier(len(calls)), [None] * len(calls)

    def work(number):
        barrier.wait(SOON)
        results[number] = calls[number]()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in threads)
    return results


def test_eight_threads_that_need_a_program_compile_it_once():
    function = Compiling()
    programs = Programs(function, (1, 2))
    assert in_threads(*[lambda: programs.of(2, 2)] * 8) == ["program of 2"] * 8
    assert function.compiled == [2] and len(programs) == 1


def test_eight_threads_of_a_detector_compile_once():
    detector = toy(batch_size=4)
    lower, compiled = detector._programs._function.lower, []

    class Counting:
        def lower(self, *arguments):
            time.sleep(0.05)
            compiled.append(arguments)
            return lower(*arguments)

    detector._programs._function = Counting()
    picture = tiny.pictures(1)[0]
    found = in_threads(*[lambda: detector(picture)] * 8)
    assert len(compiled) == detector.compilations == 1
    for one in found:
        np.testing.assert_array_equal(one[0].boxes, found[0][0].boxes)


def test_nobody_waits_for_a_program_that_he_does_not_need():
    begun, go_on = threading.Event(), threading.Event()

    def work(size):
        if size == 4:
            begun.set()
            assert go_on.wait(SOON)

    programs = Programs(Compiling(work), (1, 2, 4))
    assert programs.of(1, 1) == "program of 1"
    slow = threading.Thread(target=programs.of, args=(4, 4), daemon=True)
    slow.start()
    assert begun.wait(SOON)
    try:
        assert in_threads(lambda: programs.of(1, 1), lambda: programs.of(2, 2)) == ["program of 1", "program of 2"]
        assert slow.is_alive() and len(programs) == 2
    finally:
        go_on.set()
        slow.join(SOON)
    assert len(programs) == 3


def test_a_program_that_cannot_be_compiled_is_tried_again():
    def fail(size):
        raise MemoryError

    function = Compiling(fail)
    programs = Programs(function, (1,))
    with pytest.raises(MemoryError):
        programs.of(1, 1)
    function.work = lambda size: None
    assert in_threads(lambda: programs.of(1, 1)) == ["program of 1"]


def test_a_last_smaller_batch_takes_the_program_of_those_before_it():
    detector = toy(batch_size=4)
    assert len(detector(tiny.pictures(9))) == 9  # 4, 4 and 1
    assert detector.compilations == 1
    assert len(list(detector.stream(tiny.pictures(5), batch_size=2))) == 5
    assert detector.compilations == 2


def test_rows_that_are_left_over_hold_an_image_of_one_black_pixel():
    """A height of 0 would be divided by."""
    picture = pictures.Picture("a", (4, 6), np.full((2, 3, 3), 9, np.uint8))
    canvases, sizes = pictures.lay_out([picture], (3, 5), 3)
    expected = np.zeros((3, 3, 5, 3), np.uint8)
    expected[0, :2, :3] = 9
    np.testing.assert_array_equal(canvases, expected)
    np.testing.assert_array_equal(sizes, [[2, 3], [1, 1], [1, 1]])
    assert canvases.dtype == np.uint8 and sizes.dtype == np.int32


def test_a_batch_is_started_before_the_one_before_it_is_waited_for(monkeypatch):
    detector, events, read = toy(batch_size=2), [], []
    start, finish = detector._start, detector._finish

    def images():
        for number, picture in enumerate(tiny.pictures(7)):
            read.append(number)
            yield picture

    def started(batch, rows):
        events.append(f"start {len(batch)}")
        return start(batch, rows)

    def finished(batch, result):
        events.append(f"finish {len(batch)}")
        yield from finish(batch, result)

    monkeypatch.setattr(detector, "_start", started)
    monkeypatch.setattr(detector, "_finish", finished)
    stream = detector.stream(images())
    next(stream)
    # Four have been handed on in two batches; of the four that are decoded ahead, one makes place for the next.
    assert len(read) == 7
    list(stream)
    assert events == ["start 2", "start 2", "finish 2", "start 2", "finish 2", "start 1", "finish 2", "finish 1"]


@pytest.fixture
def one_reader(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_READERS", 1)


def test_leaving_a_stream_waits_for_the_image_that_is_decoded_and_for_no_other(monkeypatch, one_reader):
    begun, go_on, started, ended = threading.Event(), threading.Event(), [], []

    def read(image, canvas, *, number):
        started.append(number)
        if number == 2:
            begun.set()
            assert go_on.wait(SOON)
        ended.append(number)
        return pictures.Unreadable(image, "")

    monkeypatch.setattr(pictures, "read_picture", read)
    reading = pictures.read_ahead("abcdefgh", (1, 1), 4)
    assert next(reading) == ("a", "")
    assert begun.wait(SOON)
    timer = threading.Timer(0.1, go_on.set)
    timer.start()
    reading.close()
    assert (started, ended) == ([1, 2], [1, 2])
    timer.join()
    time.sleep(0.05)
    assert started == [1, 2]


def test_images_come_in_their_order_though_the_first_takes_longest(monkeypatch):
    first = threading.Event()

    def read(image, canvas, *, number):
        if number == 1:
            first.wait(0.2)
        return pictures.Unreadable(image, str(number))

    monkeypatch.setattr(pictures, "read_picture", read)
    assert list(pictures.read_ahead("abcde", (1, 1), 4)) == [(letter, str(n)) for n, letter in enumerate("abcde", 1)]


def test_an_image_of_pillow_may_be_given_many_times(tmp_path):
    """It is opened lazily, and two threads that decode one image at once damage it."""
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    detector, expected = toy(), None
    for kind in ("JPEG", "PNG"):
        Image.fromarray(noise).save(tmp_path / kind, kind)
        with Image.open(tmp_path / kind) as opened:
            found = list(detector.stream([opened] * 8))
        expected = detector(Image.open(tmp_path / kind))[0]
        for one in found:
            np.testing.assert_array_equal(one.boxes, expected.boxes)
            np.testing.assert_array_equal(one.scores, expected.scores)


def test_images_of_pillow_are_decoded_where_they_are_asked_for(monkeypatch):
    threads, decode_image = [], pictures.decode.decode_image

    def decode(source, *, limit):
        threads.append((type(source), threading.current_thread() is threading.main_thread()))
        return decode_image(source, limit=limit)

    monkeypatch.setattr(pictures.decode, "decode_image", decode)
    array = np.zeros((3, 4, 3), np.uint8)
    assert len(list(pictures.read_ahead([Image.fromarray(array), array] * 3, (5, 5), 4))) == 6
    assert sorted(threads, key=str) == sorted([(Image.Image, True), (np.ndarray, False)] * 3, key=str)


def test_the_frames_of_one_file_of_pillow_are_told_apart(tmp_path):
    """ImageSequence gives the same image, moved on to its next frame, again and again."""
    colors = [(250, 10 * number, 255 - 10 * number) for number in range(12)]
    frames = [Image.new("RGB", (40, 30), color) for color in colors]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    detector = toy()
    with Image.open(tmp_path / "a.png") as opened:
        found = list(detector.stream(ImageSequence.Iterator(opened)))
    for one, expected in zip(found, detector(frames), strict=True):
        np.testing.assert_array_equal(one.boxes, expected.boxes)
    assert len({tuple(one.boxes[0]) for one in found}) == 12
