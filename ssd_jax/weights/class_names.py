"""Which class of one dataset is which class of another, by name."""

from collections.abc import Sequence

# COCO's names of classes that PASCAL VOC calls otherwise; diningtable and pottedplant differ by a space alone.
SYNONYMS = {"airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa", "tv": "tvmonitor"}


def normalize(name: str) -> str:
    """Returns the form in which names are compared: no case, no spaces, underscores or hyphens, VOC's synonym."""
    plain = "".join(letter for letter in name.casefold() if not letter.isspace() and letter not in "_-")
    return SYNONYMS.get(plain, plain)


def find_classes(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Returns where each wanted name stands among the known ones, None where it does not.

    The same spelling comes first, then the first name whose normalized form is the same.
    """
    spelled = {name: index for index, name in reversed(list(enumerate(known)))}
    alike = {normalize(name): index for index, name in reversed(list(enumerate(known)))}
    return [spelled.get(name, alike.get(normalize(name))) for name in wanted]
