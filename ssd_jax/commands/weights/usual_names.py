"""Names of the classes of published detectors, whose files hold none, by their number with the background."""

from ssd_jax import data

# Category ids of COCO 2017 (annotations/instances_val2017.json): 80 within 1 to 90.
_COCO = {
    **dict(enumerate("person bicycle car motorcycle airplane bus train truck boat".split(), 1)),
    **{10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird"},
    **dict(enumerate("cat dog horse sheep cow elephant bear zebra giraffe".split(), 17)),
    **{27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis"},
    **{36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard"},
    **{42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife"},
    **dict(enumerate("spoon bowl banana apple sandwich orange broccoli carrot".split(), 50)),
    **{58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed"},
    **{67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard"},
    **{77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book"},
    **{85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush"},
}

USUAL_NAMES: dict[int, tuple[str, ...]] = {
    21: data.VOC_CLASSES,
    81: tuple(_COCO[category] for category in sorted(_COCO)),
    # torchvision counts COCO's ids, in which ten are not used; a class never trained is never found.
    91: tuple(_COCO.get(category, f"unused {category}") for category in range(1, 91)),
}
