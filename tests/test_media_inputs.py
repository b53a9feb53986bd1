"""What is given to look at: files, folders, globs and lists; and the names of what is written."""

import os
from pathlib import Path, PurePath

import pytest

from ssd_jax import media
from ssd_jax.errors import InputError
from ssd_jax.media import inputs, names


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name in (
        "b.JPG",
        "a.png",
        "sub dir/ż.webp",
        "sub dir/clip.MP4",
        "notes.txt",
        ".hidden.jpg",
        ".git/x.jpg",
        "z/",
    ):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "in"


def named(listing) -> list[str]:
    return [file.name.as_posix() for file in listing.files]


def find(*given, **options):
    return media.find([str(text) for text in given], **options)


def test_a_folder_gives_its_images_and_videos_by_name(folder):
    listing = find(folder)
    assert named(listing) == ["a.png", "b.JPG", "sub dir/clip.MP4", "sub dir/ż.webp"]
    assert [file.is_video for file in listing.files] == [False, False, True, False]
    assert not listing.problems and not listing.own
    assert all(file.path.is_absolute() and file.path.is_file() for file in listing.files)
    # As it was given: relative here.
    assert [file.shown for file in find("in").files][0] == os.path.join("in", "a.png")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.png", ["a.png"]),
        ("in/*", ["a.png", "b.JPG", "sub dir/clip.MP4", "sub dir/ż.webp"]),
        ("in/**/*.webp", ["sub dir/ż.webp"]),
        ("in/sub*/*", ["sub dir/clip.MP4", "sub dir/ż.webp"]),
        ("in/[ab].*", ["a.png", "b.JPG"]),
    ],
)
def test_a_glob_gives_names_behind_its_fixed_part(folder, pattern, expected):
    assert named(find(pattern)) == expected


def test_a_file_with_the_letters_of_a_glob_is_a_file(folder):
    (folder / "a[1].jpg").touch()
    assert named(find("in/a[1].jpg")) == ["a[1].jpg"]


def test_a_named_file_is_taken_whatever_it_is_called(folder):
    assert named(find(folder / "notes.txt", folder / ".hidden.jpg")) == ["notes.txt", ".hidden.jpg"]


def test_each_file_is_taken_once(folder):
    assert named(find(folder, folder / "a.png", "in/*.png", "in/../in")) == named(find(folder))
    assert find("in", folder / "a.png", "in/../in").files == find("in").files  # called as at first


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_a_list_may_have_blank_lines_and_names_lie_below_the_shared_folder(folder, separator):
    lines = [b"", b"in/sub dir/clip.MP4", b"   ", b"in/sub dir", "in/sub dir/ż.webp".encode(), b"in/gone.jpg", b""]
    if separator == b"\0":
        lines = [line for line in lines if line.strip()]
    listing = find("-", read_stdin=lambda: separator.join(lines))
    assert named(listing) == ["clip.MP4", "ż.webp"]
    assert listing.problems == [("in/gone.jpg", "there is no such file")]
    absolute = find("-", read_stdin=lambda: f"{folder}/a.png\n{folder}/sub dir/ż.webp".encode())
    assert named(absolute) == ["a.png", "sub dir/ż.webp"]


def test_a_list_of_names_that_are_not_utf8(folder):
    path = os.fsencode(folder) + b"/\xff.jpg"
    open(path, "w").close()
    (file,) = find("-", read_stdin=lambda: path).files
    assert os.fsencode(file.path) == path


def test_links_are_followed_and_may_loop(folder):
    (folder / "z" / "back").symlink_to(folder)
    (folder / "z" / "self.jpg").symlink_to("self.jpg")
    other = folder.parent / "other"
    other.mkdir()
    (other / "linked.jpg").touch()
    (folder / "z" / "elsewhere").symlink_to(other)
    expected = ["a.png", "b.JPG", "sub dir/clip.MP4", "sub dir/ż.webp", "z/elsewhere/linked.jpg", "z/self.jpg"]
    assert named(find(folder)) == expected
    assert [PurePath(name).name for name in named(find("in/**"))].count("a.png") == 1


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("sub dir"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = find(folder)
    assert named(listing) == ["a.png", "b.JPG"]
    assert listing.problems == [(str(folder / "sub dir"), "this folder cannot be read (Permission denied)")]


def test_what_was_written_before_is_left_out(folder):
    out = folder / "out"
    out.mkdir()
    (out / "a.png").touch()
    before = ["a.png", "b.JPG", "sub dir/clip.MP4", "sub dir/ż.webp"]
    for given in (folder, "in/**", "in/*"):
        listing = find(given, written_to=out)
        assert named(listing) == before and listing.own == 1
    listing = find("-", written_to=out, read_stdin=lambda: b"in/out/a.png\nin/a.png")
    assert named(listing) == ["a.png"] and listing.own == 1
    # What is named, or lies there because the folder itself was given, is meant.
    assert named(find(out / "a.png", written_to=out)) == ["a.png"]
    assert named(find(out, written_to=out)) == ["a.png"]
    assert len(find(folder, written_to=folder).files) == 5
    with pytest.raises(InputError, match="only 1 in the folder that is written to"):
        find("in/out*/*", written_to=out)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", r"'': expected an image"),
        ("gone.jpg", "gone.jpg: expected an image, a video, a folder, a glob, - .* no such file"),
        ("gone/*.jpg", r"gone/\*.jpg: expected images or videos, but found none \(.jpg "),
        ("in/z", "in/z: expected images or videos, but found none"),
        ("-", "-: expected images or videos, but found none"),
        ("in/\0", "expected an image"),
    ],
)
def test_nothing_to_look_at_is_said_in_a_sentence(folder, given, says):
    with pytest.raises(InputError, match=says):
        find(given)


def test_a_number_is_a_camera_unless_it_is_a_file(folder, monkeypatch):
    assert media.camera_number(["0"]) == 0 and media.camera_number(["12"]) == 12
    assert media.camera_number(["a.png"]) is None and media.camera_number(["-1"]) is None
    assert media.camera_number(["²"]) is None
    with pytest.raises(InputError, match="camera 0: expected a camera alone"):
        media.camera_number(["0", "a.png"])
    (folder.parent / "0").mkdir()
    assert media.camera_number(["0"]) is None


def found(*paths: str) -> list[inputs.Found]:
    return [inputs.Found(Path("/in", path), path, PurePath(path), path.endswith(("mp4", "avi"))) for path in paths]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a.jpg", "a.png", "a.gif"], ["a.jpg", "a.png", "a.gif.png"]),
        (["a.jpg", "a.jpg", "A.JPG", "a-2.jpg"], ["a.jpg", "a-2.jpg", "A-3.JPG", "a-2-2.jpg"]),
        (["a.gif", "a.gif.png"], ["a.gif.png", "a.gif-2.png"]),
        (["a.webp", "a.webp.png"], ["a.webp", "a.webp-2.png"]),  # a large a.webp becomes a.webp.png
        (["a.webp.png", "a.webp"], ["a.webp.png", "a-2.webp"]),
        (["sub/a.tif", "sub/noextension"], ["sub/a.tif", "sub/noextension.png"]),
        (["c.mp4", "c.avi"], ["c.mp4", "c.avi.mp4"]),
        (["é.jpg", "e\u0301.jpg"], ["é.jpg", "e\u0301-2.jpg"]),  # one name on some systems
        ([f"{251 * 'n'}.jpg"], [f"{251 * 'n'}.jpg"]),  # 255 bytes, the most that a name may have
        ([f"{251 * 'n'}.gif", f"{251 * 'n'}.GIF"], [f"{251 * 'n'}.png", f"{249 * 'n'}-2.png"]),
        ([f"sub/{100 * 'ż'}{48 * 'n'}.avi"], [f"sub/{100 * 'ż'}{48 * 'n'}.av.mp4"]),
    ],
)
def test_every_copy_has_a_name_of_its_own(given, expected):
    assert [target.relative_to("/out").as_posix() for target in names.plan(found(*given), Path("/out"))] == expected


def test_a_copy_never_takes_the_place_of_an_original(folder):
    files = find(folder).files
    with pytest.raises(InputError, match=r"a.png there is one of the files to look at and would be overwritten"):
        media.check_inputs_stay(files, media.plan(files, folder))
    link = folder.parent / "link"
    link.symlink_to(folder)
    with pytest.raises(InputError, match="overwritten"):
        media.check_inputs_stay(files, media.plan(files, link))
    media.check_inputs_stay(files, media.plan(files, folder.parent / "out"))
