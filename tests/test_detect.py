"""What detect.py does with images, with a detector that finds what is bright: right pixels, right boxes, every file."""

import json
import signal
import threading
import time
from pathlib import Path, PurePath

import detect_stand_in
import numpy as np
import pytest
from detect_stand_in import BOX, NAMES, Bright
from PIL import Image

from ssd_jax import files, media, visualize
from ssd_jax.commands.detect import choosing, forms, jobs, loops, results, results_files, stopping
from ssd_jax.errors import InputError
from ssd_jax.evaluation import coco_rows, comp4_files
from ssd_jax.inference import DetectedObjects

HEIGHT, WIDTH = detect_stand_in.SIZE
CATS = choosing.Choice(0.6)


def run(given, output, *, forms=("pictures", "jsonl"), choice=CATS, detector=None, stop=None):
    """Does what detect.py does between its options and its summary; returns the counts."""
    job = jobs.plan([str(text) for text in given], output, forms)
    output.mkdir(parents=True, exist_ok=True)
    with results.Results(output, forms, NAMES, [file for file, _ in job.images]) as written:
        jobs.carry_out(job, detector or Bright(), choice, written, stop or stopping.Stop())
    return written.counts


def lines_of(output) -> list[dict]:
    text = (output / results.JSONL).read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def mixed(tmp_path) -> Path:
    """The same scene in every kind of file, and files that are no images."""
    folder = tmp_path / "in put"
    (folder / "żółw").mkdir(parents=True)
    scene = detect_stand_in.scene()
    gray16 = np.asarray(scene.convert("L")).astype(np.uint16) * 257
    for name, picture in {
        "a.jpg": scene,
        "a.png": scene,
        "a.gif": scene.quantize(16),
        "a.webp": scene,
        "a.tiff": scene,
        "a.bmp": scene,
        "gray.png": scene.convert("L"),
        "rgba.png": scene.convert("RGBA"),
        "cmyk.jpg": scene.convert("CMYK"),
        "16.png": Image.fromarray(gray16),
        "żółw/ä b.jpg": scene,
        "one.png": Image.new("RGB", (1, 1), (250, 220, 180)),
        "strip.jpg": scene.resize((10_000, 50)),
    }.items():
        picture.save(folder / name)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        scene.save(folder / f"exif{orientation}.jpg", exif=exif)
    content = (folder / "a.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (folder / "text.jpg").write_text("hello")
    (folder / "empty.png").touch()
    (folder / "self.jpg").symlink_to("self.jpg")
    (folder / "notes.txt").write_text("no image")
    return folder


UNREADABLE = ["empty.png", "self.jpg", "text.jpg", "truncated.jpg"]
# Of EXIF's orientations (JEITA CP-3451, 4.6.4 A): where the box of the stored picture lies in the one that is seen.
X0, Y0, X1, Y1 = BOX
TURNED = {
    2: (WIDTH - X1, Y0, WIDTH - X0, Y1),
    3: (WIDTH - X1, HEIGHT - Y1, WIDTH - X0, HEIGHT - Y0),
    4: (X0, HEIGHT - Y1, X1, HEIGHT - Y0),
    5: (Y0, X0, Y1, X1),
    6: (HEIGHT - Y1, X0, HEIGHT - Y0, X1),
    7: (HEIGHT - Y1, WIDTH - X1, HEIGHT - Y0, WIDTH - X0),
    8: (Y0, WIDTH - X1, Y1, WIDTH - X0),
}


def expected_of(name: str) -> tuple[tuple[int, int], tuple[float, ...]]:
    """Returns (width, height) and the box of a picture of `mixed`."""
    if name == "one.png":
        return (1, 1), (0, 0, 1, 1)
    if name == "strip.jpg":
        return (10_000, 50), tuple(np.array(BOX) * np.tile([10_000 / WIDTH, 50 / HEIGHT], 2))
    if name.startswith("exif"):
        orientation = int(name[4])
        return ((HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)), TURNED[orientation]
    return (WIDTH, HEIGHT), BOX


def test_every_kind_of_image_has_the_right_pixels_and_boxes(mixed, tmp_path, capsys):
    output = tmp_path / "out"
    counts = run([mixed], output)
    lines = {line["path"]: line for line in lines_of(output)}
    names = sorted(path.relative_to(mixed).as_posix() for path in mixed.rglob("*.*") if path.name != "notes.txt")
    assert list(lines) == [str(mixed / name) for name in names]  # in order, none left out
    skipped = {path: line["error"] for path, line in lines.items() if "error" in line}
    assert sorted(skipped) == [str(mixed / name) for name in UNREADABLE]
    assert counts.skipped == list(skipped.items()) and counts.images == counts.objects == len(names) - 4
    said = capsys.readouterr().err
    for path, reason in skipped.items():
        assert f"{path}: skipped: {reason}\n" in said and path not in reason and "Errno" not in reason

    for name in names:
        if name in UNREADABLE:
            continue
        line = lines[str(mixed / name)]
        size, box = expected_of(name)
        assert (line["width"], line["height"]) == size, name
        (found,) = line["objects"]
        assert (found["label"], found["name"], found["score"]) == (1, "cat", 0.9), name
        # A 10,000 pixels wide strip is seen at 300 x 2 pixels.
        tolerance = (40, 26, 40, 26) if name == "strip.jpg" else (1.5,) * 4
        assert (np.abs(np.array(found["box"]) - box) <= tolerance).all(), (name, found["box"], box)
        with Image.open(output / line["picture"]) as copy:
            assert copy.size == size and copy.mode == "RGB" and copy.getexif().get(0x0112) is None, name
            assert line["picture"] == (f"{name}.png" if name.endswith("gif") else name)
            pixels = np.asarray(copy).astype(int)
        if name in ("one.png", "strip.jpg"):
            continue
        x0, y0, x1, y1 = (round(side) for side in found["box"])
        edges = (pixels[y1 - 1, x0 + 3 : x1 - 3], pixels[y0 + 3 : y1 - 3, x1 - 1])
        for edge in edges:  # where no label is
            assert np.abs(edge - visualize.class_color(1)).mean() < 25, name
        inside, ground = pixels[(y0 + y1) // 2, (x0 + x1) // 2], pixels[-2, -2] if y1 < size[1] - 8 else pixels[1, 1]
        is_gray = name in ("gray.png", "16.png")
        assert np.abs(inside - (226 if is_gray else (250, 220, 180))).max() < 12, (name, inside)
        assert np.abs(ground - (30 if is_gray else (40, 20, 60))).max() < 12, (name, ground)


def test_a_second_run_does_not_look_at_its_own_output(mixed, tmp_path, capsys):
    output = mixed / "found here"
    first = run([mixed], output)
    before = {path: path.read_bytes() for path in output.rglob("*.*")}
    second = run([mixed], output)
    assert (second.images, second.objects) == (first.images, first.objects)
    assert {path: path.read_bytes() for path in output.rglob("*.*")} == before
    assert f"left out: {first.images} files in the output folder" in capsys.readouterr().err
    with pytest.raises(InputError, match="would be overwritten"):
        run([mixed], mixed)
    run([mixed], mixed, forms=["jsonl"])  # which overwrites nothing
    assert len(lines_of(mixed)) > 20


def test_what_is_wanted(tmp_path):
    detect_stand_in.scene().save(tmp_path / "a.png")

    def found(**options):
        run([tmp_path / "a.png"], tmp_path / "out", forms=["jsonl"], choice=choosing.Choice(**options))
        return [entry["name"] for entry in lines_of(tmp_path / "out")[0]["objects"]]

    assert found(score_threshold=0.1) == ["cat", "dog"]
    assert found(score_threshold=0.9) == ["cat"]  # 0.9 as float32 counts as 0.9
    assert found(score_threshold=0.91) == []
    assert found(score_threshold=0.1, labels=frozenset({2})) == ["dog"]
    assert found(score_threshold=0.1, top_k=1) == ["cat"]
    assert found(score_threshold=0.1, labels=frozenset({2}), top_k=1) == ["dog"]  # the best of those wanted


@pytest.mark.parametrize(
    ("names", "expected"),
    [([], None), (["dog"], {2}), (["Dog", " cat "], {1, 2}), (["PERSON"], "ambiguous"), (["person"], {3})],
)
def test_classes_are_known_by_their_names(names, expected):
    known = (*NAMES, "person", "Person")
    if expected == "ambiguous":
        with pytest.raises(InputError, match="'PERSON'"):
            choosing.labels_of(names, known)
    else:
        assert choosing.labels_of(names, known) == expected


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dgo", r"'dgo'; did you mean 'dog'\?"),
        ("xyz", "'xyz'; it knows cat, dog"),
        ("background", "'background'; it knows"),
        ("", "''; it knows"),
    ],
)
def test_an_unknown_class_lists_similar_ones(name, says):
    with pytest.raises(InputError, match=f"^--classes: expected classes of the detector, got {says}"):
        choosing.labels_of([name], NAMES)


def test_files_of_voc_and_coco_say_the_same_as_the_lines(tmp_path):
    for name in ("000012", "000139"):
        detect_stand_in.scene().save(tmp_path / f"{name}.jpg")
    (tmp_path / "000140.jpg").write_text("no image")
    run([tmp_path], tmp_path / "out", forms=forms.FORMS, choice=choosing.Choice(0.1))
    ids = ["000012", "000139"]
    lines = [line for line in lines_of(tmp_path / "out") if "objects" in line]
    comp4 = comp4_files.read(tmp_path / "out" / "comp4", class_names=NAMES, ids=ids)
    content = (tmp_path / "out" / "coco_results.json").read_bytes()
    coco = coco_rows.parse_detections("results", content, ids=ids, class_names=NAMES)
    assert {entry["image_id"] for entry in json.loads(content)} == {12, 139}
    for name, line, one, other in zip(ids, lines, comp4, coco, strict=True):
        assert one.id == other.id == name and Path(line["path"]).stem == name
        boxes = np.array([entry["box"] for entry in line["objects"]], np.float32)
        np.testing.assert_array_equal(one.boxes, boxes)
        np.testing.assert_allclose(other.boxes, boxes, rtol=1e-6)
        for entries in (one, other):
            assert entries.labels.tolist() == [entry["label"] for entry in line["objects"]] == [1, 2]
            np.testing.assert_array_equal(entries.scores, np.float32([entry["score"] for entry in line["objects"]]))


def test_what_voc_and_coco_call_an_image(tmp_path):
    def ids(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        folders = list(dict.fromkeys(str(tmp_path / Path(name).parts[0]) for name in names))
        return results_files.image_ids(media.find(folders).files)

    assert ids("x/1.jpg", "x/sub/2.png") == ["1", "sub/2"]
    assert ids("y/1.jpg", "y/1.png", "y/2.png") == ["1.jpg", "1.png", "2"]
    assert ids("v/1.jpg", "w/1.jpg") == [str(tmp_path / "v/1.jpg"), str(tmp_path / "w/1.jpg")]


def test_no_two_images_are_called_the_same():
    listed = [("v/1.jpg", "1.jpg"), ("w/1.jpg", "1.jpg"), ("x/v/1.jpg", "v/1.jpg"), ("x/v/1.png", "v/1.png")]
    files = [media.Found(Path("/", shown), shown, PurePath(name), False) for shown, name in listed]
    assert results_files.image_ids(files) == [shown for shown, _ in listed]  # else v/1.jpg would be two


def test_names_that_are_one_number_are_no_numbers(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("1.png", "01.png"):
        detect_stand_in.scene().save(tmp_path / "in" / name)
    run([tmp_path / "in"], tmp_path / "out", forms=["coco"])
    entries = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert [entry["image_id"] for entry in entries] == ["01", "1"]


def test_what_an_image_is_called_does_not_depend_on_damage(tmp_path):
    (tmp_path / "in").mkdir()
    detect_stand_in.scene().save(tmp_path / "in" / "12.png")
    (tmp_path / "in" / "12.jpg").write_text("no image")
    run([tmp_path / "in"], tmp_path / "out", forms=["comp4", "coco"])
    [found] = comp4_files.read(tmp_path / "out" / "comp4", class_names=NAMES)
    [entry] = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert found.id == entry["image_id"] == "12.png"


@pytest.mark.parametrize("name", ["a .png", " a.png", "a\n.png"])
def test_what_comp4_cannot_name_is_refused_before_there_is_work_to_lose(tmp_path, name):
    detect_stand_in.scene().save(tmp_path / name)
    detector = Interrupted(0, lambda: pytest.fail("it has begun"))
    with pytest.raises(InputError, match="--write=comp4: expected names of images that can stand in a line of text"):
        run([tmp_path], tmp_path / "out", forms=["comp4", "jsonl"], detector=detector)
    assert not list((tmp_path / "out").iterdir())
    assert run([tmp_path], tmp_path / "out", forms=["coco", "jsonl"]).images == 1


def test_a_class_that_comp4_cannot_name_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="comp4 files: expected names of at most 255 bytes"):
        results.Results(tmp_path, ["comp4"], ["background", 200 * "貓"], [])


def test_the_name_of_a_file_does_not_rule_the_terminal(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a\x1b[31m\nb.png").write_text("no image")
    assert run([tmp_path / "in"], tmp_path / "out").skipped
    said = capsys.readouterr().err
    assert said == f"{tmp_path}/in/a\\x1b[31m\\nb.png: skipped: cannot identify image file\n"


def test_numbers_are_those_of_the_network_and_short():
    sides = np.float32([[0.1, 1 / 3, 1e4 / 3, 123456.7]])
    found = DetectedObjects("a", (5, 7), sides, np.float32([2 / 3]), np.int32([2]), ("dog",))
    entry = json.loads(json.dumps(results_files.as_entry(found)))
    assert (entry["width"], entry["height"]) == (7, 5)
    (one,) = entry["objects"]
    np.testing.assert_array_equal(np.float32(one["box"]), sides[0])
    assert one["box"][0] == 0.1 and one["score"] == 0.6666667


class Interrupted(Bright):
    """Gets a signal, or an error, when it has handed out so many images."""

    def __init__(self, after, action):
        self.after, self.action = after, action

    def stream(self, images, *, batch_size=None):
        for number, found in enumerate(super().stream(images, batch_size=2), start=1):
            yield found
            if number == self.after:
                self.action()


def many(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        detect_stand_in.scene().save(folder / f"{number:02}.png")
    return folder


def test_when_it_is_to_stop_what_has_been_read_is_finished(tmp_path):
    stop = stopping.Stop()
    folder, output = many(tmp_path / "in", 12), tmp_path / "out"
    counts = run(
        [folder], output, forms=forms.FORMS, stop=stop, detector=Interrupted(3, lambda: setattr(stop, "number", 2))
    )
    names = [line["picture"] for line in lines_of(output)]
    assert names == [f"{number:02}.png" for number in range(4)] and counts.images == 4  # the batch was read to its end
    assert sorted(path.name for path in output.glob("*.png")) == names
    assert len(json.loads((output / "coco_results.json").read_text())) == 4
    assert len(comp4_files.read(output / "comp4", class_names=NAMES)) == 4


def raise_interrupt():
    raise KeyboardInterrupt


def test_a_second_ctrl_c_still_leaves_whole_files(tmp_path):
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run([many(tmp_path / "in", 12)], output, forms=forms.FORMS, detector=Interrupted(5, raise_interrupt))
    names = [line["picture"] for line in lines_of(output)]
    assert names == [f"{number:02}.png" for number in range(5)]
    assert sorted(path.name for path in output.glob("*.png")) == names
    assert len(json.loads((output / "coco_results.json").read_text())) == 5


def test_ctrl_c_while_a_picture_is_written_keeps_its_line(tmp_path, monkeypatch):
    real = files.write_bytes

    def write_bytes(path, content):
        if Path(path).name == "00.png":
            for _ in range(2):
                time.sleep(0.2)  # by then all others wait for this one
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.2)
        real(path, content)

    monkeypatch.setattr(files, "write_bytes", write_bytes)
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), stopping.listening() as stop:
        run([many(tmp_path / "in", 12)], output, stop=stop)
    names = [line["picture"] for line in lines_of(output)]
    assert names[0] == "00.png" and names == sorted(path.name for path in output.glob("*.png"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_asks_and_the_second_interrupts(number, status, capfd):
    before = signal.getsignal(number)
    with stopping.listening() as stop:
        assert stop.status == 0
        signal.raise_signal(number)
        assert stop.number == number and stop.status == status
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        finished = False
        with pytest.raises(KeyboardInterrupt):
            with stop.completing():
                signal.raise_signal(number)
                finished = True  # what is half written is not lost
        assert finished
        with stop.completing():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count("once more to stop at once") == 1


def test_a_full_disk_is_one_sentence_and_what_was_written_stays(tmp_path, monkeypatch):
    folder, output = many(tmp_path / "in", 6), tmp_path / "out"
    real = files.write_bytes

    def write_bytes(path, content):
        if Path(path).name == "03.png":
            raise InputError(f"{path}: cannot be written (No space left on device)")
        real(path, content)

    monkeypatch.setattr(files, "write_bytes", write_bytes)
    with pytest.raises(InputError, match="03.png: cannot be written"):
        run([folder], output)
    done = ["00.png", "01.png", "02.png", "04.png", "05.png"]  # the others were on their way
    assert [line["picture"] for line in lines_of(output)] == sorted(path.name for path in output.iterdir())[:-1] == done


def test_lines_on_a_full_disk_are_one_sentence(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / results.JSONL).symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"detections.jsonl: cannot be written \(No space left on device\)"):
        run([many(tmp_path / "in", 2)], tmp_path / "out")


def test_batches_of_frames_fit_into_memory():
    sizes = (1, 2, 4, 8, 16, 32)
    # 2^30 bytes hold four batches of frames of 3 bytes a pixel.
    assert loops.batch_size_of(sizes, (1080, 1920)) == 32  # 43 would fit
    assert loops.batch_size_of(sizes, (2160, 3840)) == 8  # 10 would fit
    assert loops.batch_size_of(sizes, (20_000, 20_000)) == 1
    assert loops.batch_size_of((8, 16), (20_000, 20_000)) == 8  # eight devices


def test_files_that_only_images_can_fill(tmp_path):
    (tmp_path / "a.mp4").touch()
    for form in ("comp4", "coco"):
        with pytest.raises(InputError, match=f"--write={form}: expected images.* got videos"):
            jobs.plan([str(tmp_path / "a.mp4")], tmp_path / "out", [form])
        with pytest.raises(InputError, match=f"--write={form}: expected images.* got camera 0"):
            jobs.plan(["0"], tmp_path / "out", [form])


def test_few_images_need_no_large_program(tmp_path):
    job = jobs.plan([str(many(tmp_path / "in", 3))], tmp_path / "out", ["jsonl"])
    assert jobs.batch_size_for(job, 32) == 3 and jobs.batch_size_for(job, 2) == 2
    assert job.describe() == "3 images"
    assert jobs.batch_size_for(job._replace(videos=job.images[:1]), 32) == 32  # frames are many
