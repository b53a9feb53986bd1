"""Programs of one function for several sizes of a batch, each compiled once, when it is first needed."""

import threading
from collections.abc import Callable, Iterable
from typing import Any


class Programs:
    """Compiles a function for each of some sizes of a batch. Several threads may ask.

    Who asks for a program that is there, or for another size, does not wait for one that is being compiled.
    """

    def __init__(self, function: Callable, sizes: Iterable[int]) -> None:
        """Takes a function of ``parallel.data_parallel`` and all sizes that will be asked for."""
        self._function = function
        self._compiling = {size: threading.Lock() for size in sizes}
        self._compiled: dict[int, Callable] = {}

    def __len__(self) -> int:
        """Returns how many have been compiled."""
        return len(self._compiled)

    def of(self, size: int, *arguments: Any) -> Callable:
        """Returns the program of a size; the arguments show the shapes of all of that size."""
        with self._compiling[size]:  # free as soon as the program is there
            if size not in self._compiled:
                self._compiled[size] = self._function.lower(*arguments).compile()
            return self._compiled[size]
