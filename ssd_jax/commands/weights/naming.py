"""The classes of a detector whose file does not name them."""

from collections.abc import Sequence

from ssd_jax.commands.weights.usual_names import USUAL_NAMES
from ssd_jax.errors import InputError
from ssd_jax.types import BACKGROUND
from ssd_jax.weights import metadata


def class_names(num_classes: int, stated: Sequence[str]) -> tuple[str, ...]:
    """Returns the names, "background" first.

    Args:
      num_classes: of the file, with the background.
      stated: by --class_names, without background, or with it in the first place; () = the usual ones of so many.

    Raises:
      InputError: if there are none, they are not as many, or they make no sense.
    """
    names = tuple(name.strip() for name in stated)
    names = names[1:] if names[:1] == (BACKGROUND,) else names
    if not names:
        if num_classes not in USUAL_NAMES:
            known = " or ".join(map(str, USUAL_NAMES))
            raise InputError(
                f"--class_names: expected the {num_classes - 1} classes of the file, which does not name them (with "
                f"{known} classes, background included, VOC's or COCO's would be taken), got none"
            )
        names = USUAL_NAMES[num_classes]
    if BACKGROUND in names:
        raise InputError(f"--class_names: expected {BACKGROUND!r} in the first place or not at all")
    if "" in names:
        raise InputError(f"--class_names: expected names, got an empty one as number {names.index('') + 1}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"--class_names: expected distinct names, got {', '.join(repeated)} twice")
    unprintable = [name for name in names if not name.isprintable() or len(name) > metadata.LONGEST_NAME]
    if unprintable:
        longest = metadata.LONGEST_NAME
        raise InputError(
            f"--class_names: expected printable names of up to {longest} letters, got {unprintable[0][:80]!a}"
        )
    if len(names) != num_classes - 1:
        raise InputError(f"--class_names: expected {num_classes - 1}, as many as the file has, got {len(names)}")
    return (BACKGROUND, *names)
