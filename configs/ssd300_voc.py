"""SSD300 on VOC2007 + VOC2012 trainval, tested on VOC2007 test: the paper's 77.2 mAP (Table 1, with expansion).

    python train.py --config=configs/ssd300_voc.py --workdir=runs/ssd300_voc \
        --config.data.root=/path/to/VOCdevkit --config.init.weights=/path/to/vgg16_reducedfc.pth

Measured here: not yet (neither VOC nor the ImageNet weights are at hand where this was written).

This file is also the base of the other recipes: every section and every default stands here, and
each section is splatted into the function named beside it.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the recipe."""
    config = ConfigDict()
    config.data = dict(  # data.make_source
        kind="voc",
        root="",
        train_split="VOC2007/trainval+VOC2012/trainval",
        eval_split="VOC2007/test",
        train_negatives="",  # a folder of images without objects, added to the split
        eval_negatives="",
        class_names=(),  # () = found in the annotations
        unknown="error",  # or "drop": objects of other classes
        voc=dict(one_based=False, annotations="required"),
        coco=dict(images=""),
        ilsvrc=dict(synsets="", annotations="required"),
        yolo=dict(names_file=""),
        csv=dict(relative=False),
        shapes=dict(image_size=(128, 128), length=0, seed=0, shuffle_labels=False),
    )
    config.loader = dict(  # data.make_loader
        canvas=(500, 500),
        max_boxes=0,  # 0 = the most of any training image, rounded up to 8
        difficult="train",  # train_on_diff_gt of ssd_pascal.py
        crowd="drop",
        num_threads=16,
        num_workers=0,
        on_error="skip",  # or "stop": what an image is that cannot be read (docs/data.md)
        timeout_s=600.0,  # for reading one batch; 0 = any time
        cache="",  # folder for decoded images; "" = none
    )
    config.model = dict(  # models.build
        backbone="vgg16",
        extra_blocks="conv",
        heads="conv",
        sources=(),  # names of the feature maps that the heads read; () = all
        image_size=(300, 300),
        width_multiplier=1.0,
        batch_norm=False,
        dtype="float32",  # or "bfloat16": of the convolutions (docs/training.md)
        remat=False,  # True: less memory, more work; the result is the same
        extras=((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
        truncate_sizes=True,  # to whole pixels, as Caffe does
        shapes=(),  # of default boxes, (width, height) for each source, in place of the three settings below
        min_sizes=(30.0, 60.0, 111.0, 162.0, 213.0, 264.0),
        max_sizes=(60.0, 111.0, 162.0, 213.0, 264.0, 315.0),
        aspect_ratios=((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
        steps=(8, 16, 32, 64, 100, 300),
        mean=(123.0, 117.0, 104.0),
        std=(1.0, 1.0, 1.0),
    )
    config.priors = dict(offset=0.5, clip=False, clip_centers=False)  # priors.default_boxes
    config.init = dict(  # weights.initialize, weights.fine_tune
        weights="",
        ckpt="",  # WORKDIR[@STEP] of a run to start from instead
        heads="copy",  # its confidence heads, by class name; or "keep", "reset"
        family="",  # whose network the file of weights holds; "" = told by its arrays (docs/weights.md)
        channels="",  # "rgb" or "bgr", which its first convolution expects; "" = as usual in its family
        required=True,
    )
    config.augment = dict(  # augment.draw
        brightness=32.0,
        contrast=(0.5, 1.5),
        saturation=(0.5, 1.5),
        hue=18.0,
        distort_probability=0.5,
        expand_probability=0.5,
        expand_max=4.0,
        crop_probability=1.0,
        crop_min_ious=(0.1, 0.3, 0.5, 0.7, 0.9),
        crop_trials=50,
        crop_scale=(0.3, 1.0),
        crop_aspect_ratio=(0.5, 2.0),
        flip_probability=0.5,
        interpolation="random",
    )
    config.match = dict(iou_threshold=0.5, negative_overlap=0.5, variances=(0.1, 0.1, 0.2, 0.2))  # matching.match
    config.loss = dict(  # training.make_train_step
        negative_ratio=3.0,
        empty_negatives=0,  # mined in an image without objects, which the original ignores
        per="global",
        location_weight=1.0,
        ignore_cross_boundary=False,  # True: default boxes that leave the image are not trained (Table 3)
    )
    config.optimizer = dict(  # optim.make_optimizer
        algorithm="caffe_sgd",
        learning_rate=1e-3,
        schedule="steps",
        boundaries=(80_000, 100_000),
        gamma=0.1,
        warmup_steps=0,
        warmup_factor=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        bias_multiplier=2.0,
        clip_norm=0.0,
        freeze=(),  # such as ("conv1", "conv2"): freeze_layers of ssd_pascal.py, which is empty
    )
    config.train = dict(  # train.py
        seed=0,
        batch_size=32,
        num_steps=120_000,
        accumulation_steps=1,  # micro-batches, one after the other, if a batch does not fit the memory
        ema_decay=0.0,
        on_nonfinite="stop",  # or "skip": what becomes of a step whose loss or gradient is not finite
        log_every=50,
        evaluate_every=10_000,
        checkpoint_every=2_000,
        keep_checkpoints=2,
        tensorboard=False,  # True: also write WORKDIR/tensorboard; needs tensorboardX
    )
    config.runtime = dict(  # commands.runtime.configure
        matmul_precision="default",  # of float32: TF32 on NVIDIA GPUs since Ampere; "float32" = in full
        deterministic=False,  # True: a GPU repeats itself to the last bit, at some cost
    )
    config.detect = dict(  # postprocess.detect
        score_threshold=0.01, iou_threshold=0.45, pre_nms_top_k=400, max_detections=200, clip_first=False
    )
    config.evaluate = dict(batch_size=32, metric="11point")  # evaluate.py; the metric picks the best step
    return config
