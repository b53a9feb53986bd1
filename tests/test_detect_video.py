"""What detect.py does with videos: every frame once, in order, with its own boxes; sound, faults and stopping."""

import signal
from fractions import Fraction

import detect_stand_in
import numpy as np
import pytest
from detect_stand_in import Bright
from test_detect import CATS, lines_of, run

from ssd_jax import media, visualize
from ssd_jax.commands.detect import jobs, results, stopping
from ssd_jax.errors import InputError

av = pytest.importorskip("av", reason='needs PyAV: pip install -e ".[video]"')
RATE = Fraction(25)


class Watched(Bright):
    """Counts the frames that have been asked for but not handed out; may ask to stop."""

    most = 0

    def __init__(self, stop=None, after=0):
        self.stop, self.after, self.taken, self.given = stop, after, 0, 0

    def stream(self, images, *, batch_size=None):
        def counted():
            for image in images:
                self.taken += 1
                self.most = max(self.most, self.taken - self.given)
                yield image

        for found in super().stream(counted(), batch_size=batch_size):
            self.given += 1
            yield found
            if self.given == self.after:
                self.stop.number = 2


def square(number: int) -> list[float]:
    """The moving square of detect_stand_in.write_clip."""
    return [4 + 4 * number, 10, 28 + 4 * number, 40]


def test_each_frame_gets_its_own_boxes(tmp_path):
    detect_stand_in.write_clip(tmp_path / "a clip.mp4", range(30), 1 / RATE, rate=RATE, sound="aac")
    detector = Watched()
    counts = run([tmp_path / "a clip.mp4"], tmp_path / "out", detector=detector)
    assert (counts.frames, counts.objects, counts.images, counts.skipped) == (30, 30, 0, [])
    assert detector.most <= 5  # of 30: a batch of four, and one
    lines = lines_of(tmp_path / "out")
    frames, times, rate, sound = detect_stand_in.read_clip(tmp_path / "out" / "a clip.mp4")
    assert len(lines) == len(frames) == 30 and rate == RATE and sound
    for number, (line, frame, time) in enumerate(zip(lines, frames, times, strict=True)):
        assert line["path"] == str(tmp_path / "a clip.mp4") and line["frame"] == number
        assert line["time"] == pytest.approx(time) == pytest.approx(number / 25)
        assert (line["width"], line["height"]) == (160, 96)
        assert detect_stand_in.number_of(frame) == number
        (found,) = line["objects"]
        assert np.abs(np.array(found["box"]) - square(number)).max() <= 2
        x0, _, x1, y1 = (round(side) for side in found["box"])
        edge = frame[y1 - 2 : y1, x0 + 4 : x1 - 4].astype(int)  # two pixels, since colors have half the resolution
        assert np.abs(edge - visualize.class_color(1)).mean() < 40


def test_stopping_leaves_a_clip_that_ends_where_the_lines_do(tmp_path):
    detect_stand_in.write_clip(tmp_path / "a.mp4", range(30), 1 / RATE, rate=RATE, sound="aac")
    stop = stopping.Stop()
    run([tmp_path / "a.mp4"], tmp_path / "out", detector=Watched(stop, 6), stop=stop)
    frames, _, _, sound = detect_stand_in.read_clip(tmp_path / "out" / "a.mp4")
    assert 5 < len(sound) < 20  # of 45 in the original's 1.2 s
    assert len(frames) == len(lines_of(tmp_path / "out")) == 8  # the batch that has been read
    assert [detect_stand_in.number_of(frame) for frame in frames] == list(range(8))


def test_a_second_ctrl_c_does_not_break_a_clip_that_is_being_completed(tmp_path, monkeypatch):
    detect_stand_in.write_clip(tmp_path / "a.mp4", range(30), 1 / RATE, rate=RATE)
    real, came = media.VideoWriter.finish, []

    def finish(self, *, is_whole):
        came.append(signal.raise_signal(signal.SIGINT))
        real(self, is_whole=is_whole)

    monkeypatch.setattr(media.VideoWriter, "finish", finish)
    with pytest.raises(KeyboardInterrupt), stopping.listening() as stop:
        run([tmp_path / "a.mp4"], tmp_path / "out", detector=Watched(stop, 6), stop=stop)
    assert came and stop.number == 2
    assert len(detect_stand_in.read_clip(tmp_path / "out" / "a.mp4")[0]) == len(lines_of(tmp_path / "out")) == 8


def test_a_folder_of_both_and_a_video_that_is_none(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    detect_stand_in.scene().save(folder / "a.png")
    detect_stand_in.write_clip(folder / "b.avi", range(5), 1 / RATE, rate=RATE, codec="mpeg4", sound="adpcm_ms")
    (folder / "c.mp4").write_text("no video")
    detect_stand_in.write_clip(folder / "d.mp4", range(5), 1 / RATE, rate=RATE)
    counts = run([folder], tmp_path / "out")
    assert (counts.images, counts.frames) == (1, 10)
    ((path, reason),) = counts.skipped
    assert path == str(folder / "c.mp4") and reason.startswith("cannot be opened (")
    said = capsys.readouterr().err
    assert f"{path}: skipped: {reason}" in said
    assert f"{folder / 'b.avi'}: the annotated copy lacks its sound, of a kind that .mp4 files cannot hold" in said
    assert sorted(file.name for file in (tmp_path / "out").iterdir() if file.suffix != ".jsonl") == [
        "a.png",
        "b.avi.mp4",
        "d.mp4",
    ]


def test_a_video_that_cannot_be_copied_does_not_end_the_others(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    options = dict(rate=RATE, codec="ffv1", pixel_format="bgr0")
    detect_stand_in.write_clip(tmp_path / "in" / "a.mkv", range(2), 1 / RATE, size=(32, 17_000), **options)  # too wide
    detect_stand_in.write_clip(tmp_path / "in" / "b.mkv", range(2), 1 / RATE, **options)
    counts = run([tmp_path / "in"], tmp_path / "out")
    assert [path for path, _ in counts.skipped] == [str(tmp_path / "in" / "a.mkv")]
    assert "a.mkv: skipped: " in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.mkv", results.JSONL]
    assert lines_of(tmp_path / "out")[-1]["frame"] == 1


def test_without_pictures_no_copy_is_made(tmp_path):
    detect_stand_in.write_clip(tmp_path / "a.mp4", range(3), 1 / RATE, rate=RATE)
    run([tmp_path / "a.mp4"], tmp_path / "out", forms=["jsonl"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["detections.jsonl"]


def test_where_videos_cannot_be_read_images_are(tmp_path, monkeypatch):
    def missing():
        raise InputError("videos and cameras need PyAV")

    monkeypatch.setattr(media, "check_installed", missing)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match="need PyAV"):
        jobs.plan([str(tmp_path)], tmp_path / "out", ["jsonl"])
    detect_stand_in.scene().save(tmp_path / "b.png")
    counts = run([tmp_path], tmp_path / "out")
    assert counts.images == 1 and counts.skipped == [(str(tmp_path / "a.mp4"), "videos and cameras need PyAV")]


def test_a_camera_is_read_until_it_is_to_stop(tmp_path, monkeypatch):
    # In place of a camera, of which there is none here: a clip whose clock has been running for a while.
    stamps = [1000 + 40 * number for number in range(30)]
    detect_stand_in.write_clip(tmp_path / "a.mkv", stamps, Fraction(1, 1000), rate=RATE)

    def open_camera(number):
        return media.Clip(av.open(str(tmp_path / "a.mkv")), f"camera {number}", is_live=True)

    monkeypatch.setattr(media, "open_camera", open_camera)
    monkeypatch.chdir(tmp_path)
    stop = stopping.Stop()
    detector = Watched(stop, 7)
    run(["0"], tmp_path / "out", detector=detector, stop=stop, choice=CATS)
    lines = lines_of(tmp_path / "out")
    assert detector.most == 1  # what a camera sees is wanted at once
    assert len(lines) == len(detect_stand_in.read_clip(tmp_path / "out" / "camera0.mp4")[0]) == 7
    assert {line["path"] for line in lines} == {"camera 0"}
    assert [line["time"] for line in lines] == pytest.approx([0.04 * number for number in range(7)])
