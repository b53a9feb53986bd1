"""Which classes are similar: the groups of known data sets, and the checks of groups that a user gives."""

from collections.abc import Mapping, Sequence

from ssd_jax.errors import InputError

# Hoiem et al. (ECCV 2012), section 2.2, and setDatasetParameters.m of their code: the classes of a set are similar, and
# a class may be in several sets. Their plots (SSD, Figure 3) are of the first three.
VOC = {
    "animal": ("bird", "cat", "cow", "dog", "horse", "sheep"),
    "vehicle": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    "furniture": ("chair", "diningtable", "sofa"),
    "animal or person": ("bird", "cat", "cow", "dog", "horse", "person", "sheep"),
    "aeroplane or bird": ("aeroplane", "bird"),
}
VOC_ALONE = ("bottle", "pottedplant", "tvmonitor")

# The supercategories of COCO's annotation files; that of the person has no other class.
COCO = {
    "person": ("person",),
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "outdoor": ("traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "accessory": ("backpack", "umbrella", "handbag", "tie", "suitcase"),
    "sports": (
        *("frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard"),
        *("surfboard", "tennis racket"),
    ),
    "kitchen": ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    "food": (*("banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake"),),
    "furniture": ("chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    "electronic": ("tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    "appliance": ("microwave", "oven", "toaster", "sink", "refrigerator"),
    "indoor": ("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
}


def default_groups(class_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the groups of similar classes of VOC or COCO, for all or some of their classes; else none.

    Classes of both (cats and dogs alone, say) are taken for VOC's. Groups are left out of which fewer than two classes
    are present, or the same as of one before.

    Args:
        class_names: every class by label, background first.
    """
    present = class_names[1:]
    for groups, alone in ((VOC, VOC_ALONE), (COCO, ())):
        if set(present) <= set(alone).union(*groups.values()):
            some = {name: tuple(k for k in present if k in members) for name, members in groups.items()}
            first = {members: name for name, members in reversed(some.items())}
            return {name: members for name, members in some.items() if len(members) > 1 and first[members] == name}
    return {}


def labels_of_groups(
    groups: Mapping[str, Sequence[str]], class_names: Sequence[str]
) -> dict[str, tuple[int, ...]]:  # name -> labels, rising
    """Returns the groups by label.

    Raises:
        InputError: a group is empty, names a class twice, or names one that is not among class_names.
    """
    label_of = {name: label for label, name in enumerate(class_names) if label > 0}
    labels: dict[str, tuple[int, ...]] = {}
    for name, members in groups.items():
        unknown = [member for member in members if member not in label_of]
        if unknown:
            raise InputError(
                f"group {name!r}: expected classes of the data ({', '.join(label_of)}), got {unknown[0]!r}"
            )
        if len(members) == 0 or len(set(members)) < len(members):
            raise InputError(f"group {name!r}: expected at least one class and each once, got {list(members)}")
        labels[name] = tuple(sorted(label_of[member] for member in members))
    return labels


def similar_labels(groups: Mapping[str, tuple[int, ...]], label: int) -> set[int]:
    """Returns the labels that share a group with this one."""
    sharing = (members for members in groups.values() if label in members)
    return set().union(*sharing) - {label}
