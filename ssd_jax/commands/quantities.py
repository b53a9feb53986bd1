"""What ``metrics.jsonl`` holds, for those who draw it: titles, units and the order of the charts."""

from typing import NamedTuple

VALIDATION = "validation_"  # prefix of a field that is drawn in the chart of the field it is the counterpart of


class Quantity(NamedTuple):
    """What a chart shows."""

    title: str
    unit: str = ""
    scale: float = 1.0  # what logged values are multiplied by
    logarithmic: bool | None = None  # None: where the values range widely


GROUPS: dict[str, dict[str, Quantity]] = {
    "Losses": {
        "loss": Quantity("Loss"),
        "location_loss": Quantity("Location loss", "per matched default box"),
        "confidence_loss": Quantity("Confidence loss", "per matched default box"),
    },
    "Evaluations": {
        "map_11point": Quantity("mAP (VOC07 11-point)", logarithmic=False),
        "map_area": Quantity("mAP (area)", logarithmic=False),
        "ilsvrc_map": Quantity("mAP (ILSVRC)", logarithmic=False),
        "coco_ap": Quantity("AP (COCO)", logarithmic=False),
        "coco_ap50": Quantity("AP50", logarithmic=False),
        "coco_ap75": Quantity("AP75", logarithmic=False),
    },
    "Optimization": {
        "learning_rate": Quantity("Learning rate"),
        "gradient_norm": Quantity("Gradient norm"),
        "update_norm": Quantity("Norm of the update"),
        "positives": Quantity("Matched default boxes", "a batch"),
        "negatives": Quantity("Mined negatives", "a batch"),
    },
    "Speed and memory": {
        "images_per_second": Quantity("Speed", "images/s", logarithmic=False),
        "data_wait": Quantity("Waiting for data", "% of the time", 100.0, logarithmic=False),
        "device_memory": Quantity("Device memory", "GiB in use", 2.0**-30, logarithmic=False),
        "device_memory_peak": Quantity("Device memory, peak", "GiB", 2.0**-30, logarithmic=False),
    },
}
OTHER = "Evaluations"  # the group of fields that none names
