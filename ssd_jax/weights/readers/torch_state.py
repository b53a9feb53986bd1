"""Which of the tensors in a checkpoint are the network: one flat dictionary out of whatever was saved."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ssd_jax.weights.readers.bounds import MAX_TENSORS, check_name
from ssd_jax.weights.readers.raw import shown
from ssd_jax.weights.readers.torch_values import Attributes, Global, Storage, Tensor

# Under which names training programs keep the network, most common first; the averaged network comes last, so that
# it is taken only where it is alone. What else holds tensors is told in the metadata.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "ema",
)
# How the names of what belongs to the training alone begin; some of it holds tensors.
TRAINING = ("optim", "sched", "lr_", "scaler", "amp", "rng", "random", "cuda_rng")
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, of torch.compile
_MAX_DEPTH = 16
_MAX_VISITS = 3_000_000  # values looked at; what refers to the same again and again would take for ever
_MAX_PLAIN = 10_000  # plain values kept beside the tensors
_MAX_PLAIN_DEPTH = 10


class State(NamedTuple):
    """The network of a checkpoint, and the rest."""

    tensors: dict[str, Tensor]  # by name, "." between the levels
    metadata: dict[str, Any]  # as told by :func:`find_state`


def find_state(root: Any) -> State:
    """Finds the state dict in what was saved.

    A dictionary in which one of :data:`WRAPPERS` is a dictionary of tensors is entered, as is one that holds most of
    its tensors in a single dictionary; what is left is flattened. A prefix that all names have (DataParallel's) is
    stripped.

    Args:
      root: the value of the pickle.

    Returns:
      The tensors, and as metadata
      "state_dict": where they were, "" for the whole file;
      "stripped_prefix": what all names began with, "" for nothing;
      "left_out": {place: number of tensors} of what is no part of the network;
      "beside": {place: plain value} of all that is no tensor.

    Raises:
      ValueError: there are no named tensors, two of one name, or too many of them.
    """
    if type(root) is not dict:
        raise ValueError(f"it holds {_kind(root)} instead of named tensors (a state dict)")
    walk = _Walk()
    place, left, beside = [], {}, {}
    value = root
    while (inner := _choose(value, walk)) is not None:
        if len(place) == _MAX_DEPTH:
            raise ValueError("its dictionaries are nested without end")
        _note({key: other for key, other in value.items() if key != inner}, place, walk, left, beside)
        place.append(inner)
        value = value[inner]
    training = {key: item for key, item in value.items() if _of_training(key) and type(item) is not Tensor}
    plain = {key: item for key, item in value.items() if key not in training and not walk.count(item)}
    _note(training | plain, place, walk, left, beside)
    rest = {key: item for key, item in value.items() if key not in training and key not in plain}
    tensors = {}
    for name, tensor in walk.leaves(rest, ""):
        if check_name(name, "name of a tensor") in tensors:
            raise ValueError(f"two of its tensors are called {shown(name)}")
        tensors[name] = tensor
        if len(tensors) > MAX_TENSORS:
            raise ValueError(f"it has more than {MAX_TENSORS:,} tensors")
    if not tensors:
        raise ValueError("it holds no named tensors")
    prefix = _common_prefix(tensors)
    found = {"state_dict": ".".join(place), "stripped_prefix": prefix, "left_out": left, "beside": beside}
    return State({name[len(prefix) :]: tensor for name, tensor in tensors.items()}, found)


def _choose(value: dict[Any, Any], walk: "_Walk") -> str | None:
    """Returns the name of the dictionary within that is the network; None if it is the whole."""
    counts = {}
    for key, item in value.items():
        if type(key) is str and type(item) is dict and not _of_training(key):
            counts[key] = walk.count(item)
    for name in WRAPPERS:
        if counts.get(name):
            return name
    within = [name for name, count in counts.items() if count]
    direct = sum(type(item) is Tensor for item in value.values())
    return within[0] if len(within) == 1 and counts[within[0]] > direct else None


def _note(
    values: dict[Any, Any], place: list[str], walk: "_Walk", left: dict[str, int], beside: dict[str, Any]
) -> None:
    """Adds what is no part of the network, in place."""
    for key, value in values.items():
        name = ".".join((*place, str(key)))
        count = walk.count(value)
        if count:
            left[name] = count
        else:
            beside[name] = walk.plain(value, _MAX_PLAIN_DEPTH)


def _of_training(key: Any) -> bool:
    return type(key) is str and key.lower().startswith(TRAINING)


def _common_prefix(names: dict[str, Tensor]) -> str:
    prefix = ""
    while True:
        step = next((step for step in PREFIXES if all(name.startswith(prefix + step) for name in names)), None)
        if step is None or any(name == prefix + step for name in names):
            return prefix
        prefix += step


class _Walk:
    """Goes through the values of a file, which may refer to each other in circles, and counts its steps."""

    def __init__(self):
        self._visits, self._plain = _MAX_VISITS, _MAX_PLAIN

    def _visit(self) -> None:
        self._visits -= 1
        if self._visits < 0:
            raise ValueError("its values refer to each other too often")

    def count(self, value: Any) -> int:
        """Returns how many different tensors a value holds."""
        seen, waiting, tensors = set(), [value], 0
        while waiting:
            item = waiting.pop()
            self._visit()
            if id(item) not in seen:
                seen.add(id(item))
                tensors += type(item) is Tensor
                waiting.extend(_items(item))
        return tensors

    def leaves(self, value: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Tensor]]:
        """Yields every tensor with its name."""
        self._visit()
        if type(value) is Tensor:
            yield name, value
        elif depth > _MAX_DEPTH:
            raise ValueError("its dictionaries are nested without end")
        elif type(value) is dict:
            for key, item in value.items():
                yield from self.leaves(item, f"{name}.{key}" if name else str(key), depth + 1)
        elif type(value) in (list, tuple):
            for index, item in enumerate(value):
                yield from self.leaves(item, f"{name}.{index}", depth + 1)

    def plain(self, value: Any, depth: int) -> Any:
        """Returns a copy of plain values; "..." stands for what is nested too deeply or too much."""
        self._plain -= 1
        if type(value) in (str, int, float, bool, type(None)):
            return value
        if depth == 0 or self._plain < 0:
            return "..."
        if type(value) in (list, tuple):
            return [self.plain(item, depth - 1) for item in value[: max(self._plain, 0)]]
        if type(value) in (dict, Attributes):
            items = value if type(value) is dict else value.values
            return {str(key): self.plain(item, depth - 1) for key, item in items.items() if self._plain > 0}
        return _kind(value)


def _items(value: Any) -> Any:
    if type(value) is dict:
        return value.values()
    if type(value) is Attributes:
        return value.values.values()
    return value if type(value) in (list, tuple) else ()


def _kind(value: Any) -> str:
    """Returns what a value is, for messages and metadata."""
    if type(value) is Global:
        return value.name
    if type(value) is bytes:
        return f"{len(value)} bytes"
    names = {Tensor: "a tensor", Storage: "a storage", Attributes: "an object", list: "a list", tuple: "a tuple"}
    return names.get(type(value), f"a value of type {type(value).__name__}")
