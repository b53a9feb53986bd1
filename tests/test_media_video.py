"""Videos in and out: number of frames, order, times, size, sound, turned and damaged clips."""

import struct
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import detect_stand_in
import numpy as np
import pytest

from ssd_jax import media
from ssd_jax.errors import InputError

NTSC = Fraction(30000, 1001)


@pytest.fixture
def av():
    return pytest.importorskip("av", reason='needs PyAV: pip install -e ".[video]"')


def copy(source, target, *, until=None):
    """Copies a clip frame by frame; returns what is said to be lost and to be damaged."""
    with media.open_clip(source, source.name) as clip:
        with media.VideoWriter(target, clip, sound=source if clip.has_sound else None) as writer:
            for number, frame in enumerate(clip):
                if number == until:
                    writer.finish(is_whole=False)
                    break
                writer.write(frame.pixels, frame)
        return writer.lost, clip.problems


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(10)])
def test_frames_order_rate_and_size_are_kept(av, tmp_path, rate):
    written = detect_stand_in.write_clip(tmp_path / "a.mp4", range(30), 1 / rate, rate=rate)
    assert copy(tmp_path / "a.mp4", tmp_path / "b.mp4") == ([], [])
    frames, times, found_rate, sound = detect_stand_in.read_clip(tmp_path / "b.mp4")
    assert frames.shape == (30, 96, 160, 3) and found_rate == rate and not sound
    assert [detect_stand_in.number_of(frame) for frame in frames] == list(range(30))
    assert times == pytest.approx([float(number / rate) for number in range(30)])
    assert np.abs(frames.astype(int) - np.stack(written)).mean() < 2  # two lossy codings
    # Colors are told as they are meant: taken for those of standard definition, they would be off by up to 29.
    for number, frame in enumerate(frames):
        assert np.abs(frame[20:30, 12 + 4 * number : 20 + 4 * number] - np.array(detect_stand_in.SQUARE)).max() < 10


def test_variable_times_are_kept(av, tmp_path):
    stamps = [0, 10, 13, 40, 41, 90]
    detect_stand_in.write_clip(tmp_path / "a.mp4", stamps, Fraction(1, 90), rate=Fraction(30))
    copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    frames, times, _, _ = detect_stand_in.read_clip(tmp_path / "b.mp4")
    assert times == pytest.approx([stamp / 90 for stamp in stamps], abs=1e-9)
    assert [detect_stand_in.number_of(frame) for frame in frames] == list(range(6))


@pytest.mark.parametrize(("name", "coding"), [("a.mp4", "aac"), ("a.mkv", "flac"), ("a.mov", "pcm_s16le")])
def test_sound_is_copied_bit_by_bit(av, tmp_path, name, coding):
    source, target = tmp_path / name, tmp_path / f"copy-{name}"
    detect_stand_in.write_clip(source, range(26), Fraction(1, 25), rate=Fraction(25), sound=coding)
    assert copy(source, target) == ([], [])
    before, after = (detect_stand_in.read_clip(path)[3] for path in (source, target))
    assert len(before) > 3 and b"".join(after) == b"".join(before)


def test_sound_that_the_copy_cannot_hold_is_said(av, tmp_path):
    source = tmp_path / "a.avi"
    detect_stand_in.write_clip(source, range(5), Fraction(1, 25), rate=Fraction(25), sound="adpcm_ms", codec="mpeg4")
    lost, _ = copy(source, tmp_path / "a.avi.mp4")
    assert lost == ["its sound, of a kind that .mp4 files cannot hold"]
    frames, _, _, sound = detect_stand_in.read_clip(tmp_path / "a.avi.mp4")
    assert len(frames) == 5 and not sound


def test_a_copy_that_is_ended_early_can_be_played_and_its_sound_ends_too(av, tmp_path):
    detect_stand_in.write_clip(tmp_path / "a.mp4", range(26), Fraction(1, 25), rate=Fraction(25), sound="aac")
    copy(tmp_path / "a.mp4", tmp_path / "b.mp4", until=10)
    frames, _, _, sound = detect_stand_in.read_clip(tmp_path / "b.mp4")
    assert [detect_stand_in.number_of(frame) for frame in frames] == list(range(10))
    assert 0 < len(sound) < 0.6 * len(detect_stand_in.read_clip(tmp_path / "a.mp4")[3])
    copy(tmp_path / "a.mp4", tmp_path / "none.mp4", until=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_odd_sizes_are_kept(av, tmp_path):
    size = (65, 131)
    detect_stand_in.write_clip(
        tmp_path / "a.mkv", range(3), Fraction(1, 25), rate=Fraction(25), size=size, pixel_format="yuv444p"
    )
    copy(tmp_path / "a.mkv", tmp_path / "b.mkv")
    assert detect_stand_in.read_clip(tmp_path / "b.mkv")[0].shape == (3, *size, 3)


# The matrix of a track (ISO 14496-12, 6.2.2 and 8.3.2) that maps (x, y) to (a x + c y, b x + d y), as (a, b, c, d).
@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_clip_of_a_turned_phone_is_upright(av, tmp_path, matrix, turns):
    (first,) = detect_stand_in.write_clip(tmp_path / "a.mp4", [0], Fraction(1, 25), rate=Fraction(25))
    turn(tmp_path / "a.mp4", matrix)
    copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    frames = detect_stand_in.read_clip(tmp_path / "b.mp4")[0]
    expected = np.rot90(first, turns)
    assert frames.shape[1:] == expected.shape
    assert np.abs(frames[0].astype(int) - expected).mean() < 3


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", content, place) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", content, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize(("matrix", "aspect"), [((0, 1, -1, 0), Fraction(3, 4)), ((-1, 0, 0, -1), Fraction(4, 3))])
def test_pixels_that_are_not_square_turn_along(av, tmp_path, matrix, aspect):
    detect_stand_in.write_clip(tmp_path / "a.mp4", [0], Fraction(1, 25), rate=Fraction(25))
    with media.open_clip(tmp_path / "a.mp4", "a.mp4") as clip:
        clip.pixel_aspect = Fraction(4, 3)
        with media.VideoWriter(tmp_path / "wide.mp4", clip) as writer:
            for frame in clip:
                writer.write(frame.pixels, frame)
    turn(tmp_path / "wide.mp4", matrix)
    with media.open_clip(tmp_path / "wide.mp4", "wide.mp4") as clip:
        assert clip.pixel_aspect == aspect


class Opened:
    """What PyAV opens, with frames of these stamps; their pixels hold their number."""

    def __init__(self, stamps, *, rate=None):
        stream = SimpleNamespace(
            average_rate=rate, guessed_rate=None, time_base=Fraction(1, 10), sample_aspect_ratio=None, frames=0
        )
        stream.type, stream.duration, self.duration, self._stamps = "video", None, None, stamps
        self.streams = Streams([stream])

    def demux(self, _):
        for number, stamp in enumerate(self._stamps):
            pixels = np.full((2, 4, 3), number, np.uint8)
            frame = SimpleNamespace(pts=stamp, rotation=0, width=4, height=2)
            frame.to_ndarray = lambda pixels=pixels, **_: pixels
            yield SimpleNamespace(decode=lambda frame=frame: [frame])

    def close(self):
        pass


class Streams(list):
    @property
    def video(self):
        return self

    audio = ()

    def best(self, kind):
        return self[0]


@pytest.mark.parametrize(
    ("stamps", "rate", "is_live", "expected"),
    [
        ([0, 5, 5, 3, 9], None, False, [0, 5, 6, 7, 9]),  # equal, and falling
        ([-2, -2, -1, 0], None, False, [-2, -1, 0, 1]),  # a file may begin before 0
        ([2, 2], None, False, [2, 3]),
        ([0, None, None, 4], 5, False, [0, 2, 4, 5]),  # where none is known, a fifth of a second later, in tenths
        ([1000, 1000, 990, 1010], None, True, [0, 1, 2, 10]),  # a camera counts from the start of the machine
        ([1000, None, 1010], 5, True, [0, 2, 10]),
    ],
)
def test_stamps_rise_from_frame_to_frame(stamps, rate, is_live, expected):
    """Two frames of one time cannot be written; none is left out, and those that follow keep their time."""
    frames = list(media.Clip(Opened(stamps, rate=rate), "a.mp4", is_live=is_live))
    assert [frame.stamp for frame in frames] == expected
    assert [frame.time for frame in frames] == [stamp / 10 for stamp in expected]
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == list(range(len(stamps)))


def test_frames_of_one_time_are_all_written(av, tmp_path):
    with media.Clip(Opened([0, 4, 4, 2, 9]), "a.mp4") as clip:
        with media.VideoWriter(tmp_path / "b.mp4", clip) as writer:
            for frame in clip:
                writer.write(frame.pixels, frame)
    frames, times, _, _ = detect_stand_in.read_clip(tmp_path / "b.mp4")
    assert len(frames) == 5 and times == pytest.approx([0.0, 0.4, 0.5, 0.6, 0.9])


def test_a_damaged_clip_gives_what_is_left_and_says_so(av, tmp_path):
    detect_stand_in.write_clip(tmp_path / "a.mkv", range(120), Fraction(1, 25), rate=Fraction(25))
    whole = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    with media.open_clip(tmp_path / "cut.mkv", "cut.mkv") as clip:
        assert 10 < len(list(clip)) < 120
    content = bytearray(whole)
    content[len(whole) // 2 : len(whole) // 2 + 900] = bytes(900)
    (tmp_path / "hole.mkv").write_bytes(content)
    with media.open_clip(tmp_path / "hole.mkv", "hole.mkv") as clip:
        stamps = [frame.stamp for frame in clip]
        assert 10 < len(stamps) <= 120 and stamps == sorted(set(stamps))


def test_what_is_no_video_is_said_in_a_sentence(av, tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4", "gone.mp4"):
        with pytest.raises(InputError, match=rf"^{name}: cannot be opened \("):
            media.open_clip(tmp_path / name, name)


def test_a_full_disk_is_said_and_leaves_nothing(av, tmp_path, monkeypatch):
    detect_stand_in.write_clip(tmp_path / "a.mp4", range(5), Fraction(1, 25), rate=Fraction(25))
    (tmp_path / "out").mkdir()
    with media.open_clip(tmp_path / "a.mp4", "a.mp4") as clip:
        with pytest.raises(InputError, match=r"b.mp4: cannot be written \(No space left on device\)"):
            with media.VideoWriter(tmp_path / "out" / "b.mp4", clip) as writer:
                frame = next(iter(clip))
                monkeypatch.setattr(writer, "_stream", Full())
                writer.write(frame.pixels, frame)
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "file").touch()
    with media.open_clip(tmp_path / "a.mp4", "a.mp4") as clip:
        with pytest.raises(InputError, match="cannot be written"):
            media.VideoWriter(tmp_path / "file" / "b.mp4", clip)


class Full:
    """A stream whose packets do not fit the disk."""

    def encode(self, *_):
        raise OSError(28, "No space left on device")


def test_no_camera_is_said_in_a_sentence(av, monkeypatch):
    # A camera that works cannot be tried here.
    with pytest.raises(InputError, match=r"^camera 99.*: cannot be opened|^camera 99: cameras are read"):
        media.open_camera(99)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="Linux and macOS only"):
        media.open_camera(0)


def test_without_pyav_the_sentence_tells_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r'pip install -e "\.\[video\]"'):
        media.open_clip(tmp_path / "a.mp4", "a.mp4")
