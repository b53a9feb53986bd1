"""How comp4 files are called: a name from split and class, and the class that is meant by a name."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from ssd_jax.errors import InputError
from ssd_jax.evaluation import detection_rows

NAME = re.compile(r"comp[34](_[0-9A-Za-z-]+)?_det_(?P<rest>.+)\.txt")
LAYOUT = "comp4_det_SPLIT_CLASS.txt"
_UNFIT = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|%]')  # in the names of files, on one system or another; % marks them
_LONGEST = 255  # bytes of a file's name


def file_name(split: str, class_name: str) -> str:
    """Returns the name of a class's file."""
    name = f"comp4_det_{_escape(split)}_{_escape(class_name)}.txt"
    if len(os.fsencode(name)) > _LONGEST:
        raise InputError(f"comp4 files: expected names of at most {_LONGEST} bytes, got that of class {class_name!r}")
    return name


def _escape(text: str) -> str:
    return _UNFIT.sub(lambda match: f"%{ord(match[0]):02X}", text)


def is_comp4(name: str) -> bool:
    """Tells whether a file is called like one of this format."""
    return NAME.fullmatch(name) is not None


def choose(names: Sequence[str], class_names: Sequence[str], *, split: str, where: str) -> dict[int, str]:
    """Returns the file of each label, of all those that are there.

    Args:
      names: paths of files for which :func:`is_comp4` holds.
      class_names: background first.
      split: which are meant where there are those of several splits; "": there is one.
      where: they lie, for messages.

    Raises:
      InputError: there is none, one has an unknown class, a class has none, or they are of several splits.
    """
    rests: dict[str, str] = {}  # "SPLIT_CLASS" as the file is called, escapes resolved -> the file
    for name in names:
        match = NAME.fullmatch(os.path.basename(name))
        rest = unicodedata.normalize("NFC", unquote(match["rest"])) if match else ""  # NFC: macOS stores NFD
        if rests.setdefault(rest, name) != name:
            raise InputError(f"{where}: expected one file a class, but there are {rests[rest]} and {name}")
    if not rests:
        raise InputError(f"{where}: expected files {LAYOUT} but there is none")
    splits = _by_split(rests, class_names)
    wanted = split.rpartition("/")[2]
    if not splits:
        common = os.path.commonprefix(list(rests)) if len(rests) > 1 else next(iter(rests))
        prefix = common[: common.find("_") + 1] if len(rests) == 1 else common[: common.rfind("_") + 1]
        raise InputError(_strange_classes(where, [rest.removeprefix(prefix) for rest in rests], class_names))
    if len(splits) > 1 and wanted not in splits:
        raise InputError(
            f"{where}: expected detections of one split, but there are files of {' and '.join(map(repr, splits))}"
        )
    name = wanted if wanted in splits else next(iter(splits))
    others = {rest for known, chosen in splits.items() if known != name for rest in chosen.values()}
    mine = [rest for rest in rests if rest.startswith(f"{name}_") and rest not in others]
    strange = [rest.removeprefix(f"{name}_") for rest in mine if rest not in splits[name].values()]
    if strange:
        raise InputError(_strange_classes(where, strange, class_names))
    missing = [label for label in range(1, len(class_names)) if label not in splits[name]]
    if missing:
        raise InputError(
            f"{where}: expected a file for each of the {len(class_names) - 1} classes, but {len(missing)} are missing, "
            f"such as {file_name(name, class_names[missing[0]])} (an empty one says that there are no detections, and "
            "class_names can leave classes out)"
        )
    return {label: rests[rest] for label, rest in splits[name].items()}


def _by_split(rests: Mapping[str, str], class_names: Sequence[str]) -> dict[str, dict[int, str]]:
    """Returns, for each split, the "SPLIT_CLASS" of each label; the split with most classes comes first.

    Both may hold underscores: "test_traffic_light" is a light of "test_traffic" only if "test" does not explain it.
    """
    splits: dict[str, dict[int, str]] = {}
    for label, name in enumerate(class_names[1:], 1):
        ending = f"_{unicodedata.normalize('NFC', name)}"
        for rest in rests:
            if rest.endswith(ending) and rest != ending:
                splits.setdefault(rest.removesuffix(ending), {})[label] = rest
    explained: set[str] = set()
    chosen = {}
    for split, found in sorted(splits.items(), key=lambda item: -len(item[1])):
        if not explained.issuperset(found.values()):
            chosen[split] = found
            explained.update(found.values())
    return chosen


def _strange_classes(where: str, strange: Sequence[str], class_names: Sequence[str]) -> str:
    hint = detection_rows.class_hint(strange[0], class_names[1:])
    more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
    return (
        f"{where}: expected files {LAYOUT} of the classes {', '.join(class_names[1:6])}"
        f"{', ...' if len(class_names) > 6 else ''}, got class {strange[0]!r}{more}{hint}"
    )
