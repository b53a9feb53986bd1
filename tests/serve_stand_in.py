"""A server of the local page in a thread of the test, with a detector that needs no network."""

import contextlib
import http.client
import io
import json
import socket
import threading
import time

import numpy as np
from PIL import Image

from ssd_jax.commands.serve.app import Limits, make_app
from ssd_jax.commands.serve.listening import make_server
from ssd_jax.inference import DetectedObjects

CLASS_NAMES = ("background", "cat", "dog", "traffic light")
CANVAS = (100, 100)
LOWEST = 0.05
LIMITS = Limits(max_bytes=300_000, max_pixels=1_000_000, places=3, seconds=0.5)
# Boxes as fractions of the picture.
OBJECTS = [
    (1, 0.95, (0.10, 0.20, 0.50, 0.80)),
    (2, 0.80, (0.55, 0.10, 0.95, 0.60)),
    (2, 0.55, (0.52, 0.15, 0.90, 0.70)),
    (3, 0.30, (0.00, 0.00, 0.20, 0.10)),
    (1, 0.07, (0.60, 0.80, 1.00, 1.00)),
]


class StandIn:
    """Finds OBJECTS in every picture, and remembers what it was given.

    Attributes:
      seen: shapes of the pictures.
      go: is waited for.
      fault: is raised, if any.
    """

    name, class_names, canvas, score_threshold = "runs/stand-in, step 7", CLASS_NAMES, CANVAS, LOWEST

    def __init__(self):
        self.seen, self.go, self.fault = [], threading.Event(), None
        self.go.set()

    def __call__(self, images, *, score_threshold=None):
        self.go.wait(10)
        if self.fault:
            raise self.fault
        self.seen.append(images.shape)
        assert score_threshold is not None and score_threshold >= LOWEST
        height, width = images.shape[:2]
        kept = [one for one in OBJECTS if one[1] >= score_threshold]
        boxes = np.array([box for _, _, box in kept], np.float32).reshape(-1, 4)
        return [
            DetectedObjects(
                "image 1",
                (height, width),
                boxes * np.array([width, height, width, height], np.float32),
                np.array([score for _, score, _ in kept], np.float32),
                np.array([label for label, _, _ in kept], np.int32),
                tuple(CLASS_NAMES[label] for label, _, _ in kept),
            )
        ]


@contextlib.contextmanager
def running(detector=None, **options):
    """Serves on a port that is free; yields the port."""
    options = dict(input_size=(300, 300), score_threshold=0.6, device="the CPU", limits=Limits()) | options
    app = make_app(detector or StandIn(), **options)
    place = socket.create_server(("127.0.0.1", 0))
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield place.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        app.state.workshop.close()


def ask(port, method="GET", path="/", body=None, **headers):
    """Returns status, headers and body of one request; a body in JSON is read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    is_json = response.headers.get("Content-Type") == "application/json"
    return response.status, response.headers, json.loads(content) if is_json else content


def detect(port, content, query="", **headers):
    """Asks for the objects of a picture."""
    return ask(port, "POST", f"/api/detect{query}", content, **headers)


def encoded(width=60, height=40, kind="PNG", mode="RGB", **options):
    """Returns the bytes of a gradient."""
    across = np.linspace(0, 255, width, dtype=np.uint8)
    pixels = np.stack([np.tile(across, (height, 1))] * 3, axis=-1)
    pixels[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def one_sentence(body):
    """Whether an answer holds one sentence for a person and nothing else."""
    sentence = body.get("error", "")
    begins_well = sentence[:1].isupper() or sentence.startswith(("score_threshold", "/"))
    return list(body) == ["error"] and begins_well and sentence.endswith(".") and "\n" not in sentence
