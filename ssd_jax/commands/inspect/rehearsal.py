"""Everything that train.py does before its first step, tried out: every reason not to start is collected."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ssd_jax import recipe as recipes
from ssd_jax import training, weights
from ssd_jax.commands import checks, inputs, scoring, setup
from ssd_jax.errors import InputError

# The data is looked at with these where the recipe's own section is refused.
SOUND_LOADER = {"canvas": (500, 500), "difficult": "train", "crowd": "drop", "num_threads": 8, "max_boxes": 0}


class Rehearsal(NamedTuple):
    """How far training would come."""

    recipe: recipes.Recipe  # with a sound section ``loader``, so that the data can be looked at
    sources: Mapping[str, Any]  # "train" and "eval"; None: it cannot be opened
    network: setup.Network | None  # None: it cannot be built
    step_holds: bool  # the training step was traced: augmentation, matching and loss fit together
    refusals: tuple[str, ...]  # a sentence each; (): training can start


class _Refusals:
    """Collects sentences, each once."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def attempt(self, function: Callable, *arguments: Any) -> Any:
        """Returns the function's result; None if it refuses, which is noted."""
        try:
            return function(*arguments)
        except InputError as error:
            if str(error) not in self.sentences:
                self.sentences.append(str(error))
            return None

    def holds(self, function: Callable, *arguments: Any) -> bool:
        """Tells whether the function does not refuse."""
        before = len(self.sentences)
        self.attempt(function, *arguments)
        return len(self.sentences) == before


def rehearse(recipe: recipes.Recipe) -> Rehearsal:
    """Opens the data, builds the network and traces the steps; nothing is computed.

    Raises:
      InputError: there is nothing to look at: no data is given, or no split can be opened.
    """
    refusals = _Refusals()
    if not refusals.holds(checks.check_inputs, recipe):
        # Missing weights do not keep us from looking at the data, missing data does.
        checks.check_inputs({**recipe, "init": {**recipe["init"], "required": False}})
    settings_hold = refusals.holds(checks.check_settings, recipe)
    train, evaluation = _open_sources(recipe, refusals)
    if settings_hold and train is not None:
        settings_hold = refusals.holds(_check_loader, recipe, train)
    network = refusals.attempt(setup.build_network, recipe, (train or evaluation).class_names)
    step_holds = False
    if network is not None and train is not None:
        step_holds = _rehearse_training(recipe, network, train, refusals, settings_hold)
    if network is not None and evaluation is not None and evaluation.class_names == network.class_names:
        refusals.attempt(scoring.make_evaluator, recipe, network, evaluation)
    sound = recipe if settings_hold else {**recipe, "loader": {**recipe["loader"], **SOUND_LOADER}}
    return Rehearsal(sound, {"train": train, "eval": evaluation}, network, step_holds, tuple(refusals.sentences))


def _open_sources(recipe: recipes.Recipe, refusals: _Refusals) -> tuple[Any, Any]:
    """Opens both splits as training does; evaluation with classes that training refuses is opened for itself."""
    train = refusals.attempt(inputs.open_source, recipe, "train")
    evaluation = refusals.attempt(inputs.open_source, recipe, "eval", train.class_names if train is not None else ())
    if evaluation is None and train is not None:
        evaluation = _Refusals().attempt(inputs.open_source, recipe, "eval")
    if train is None and evaluation is None:
        raise InputError("; and ".join(refusals.sentences))
    return train, evaluation


def _rehearse_training(
    recipe: recipes.Recipe, network: setup.Network, source: Any, refusals: _Refusals, settings_hold: bool
) -> bool:
    """Tells whether a training step can be traced."""
    refusals.attempt(checks.check_objects, recipe, source)
    optimizer = refusals.attempt(recipes.build_optimizer, recipe)
    if optimizer is None:
        return False
    ema_decay = recipe["train"]["ema_decay"]
    state = jax.eval_shape(
        lambda key: training.init_state(key, network.model, optimizer, ema_decay=ema_decay), jax.random.key(0)
    )
    refusals.attempt(_check_weights, recipe, {"params": state.params, **state.model_state})
    step = refusals.attempt(setup.compile_train_step, recipe, network)
    if step is None or not settings_hold:  # a batch of the wrong size, say, would only be refused once more
        return False
    return refusals.holds(setup.check_train_step, recipe, step, state, source)


def _check_loader(recipe: recipes.Recipe, source: Any) -> None:
    """Starts the loader, without the cache that it would build at once."""
    inputs.train_batches({**recipe, "loader": {**recipe["loader"], "cache": ""}}, source, 0).close()


def _check_weights(recipe: recipes.Recipe, variables: Any) -> None:
    if recipe["init"]["ckpt"]:
        weights.read_trained(recipe["init"]["ckpt"])
    if recipe["init"]["weights"]:
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
        recipes.splat("init", weights.initialize, recipe["init"], variables=zeros, recipe=recipe)
