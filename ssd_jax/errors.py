"""The one exception that commands turn into a sentence and exit status 2."""


class InputError(Exception):
    """Something the user gave (a path, a file, an option) cannot be used.

    The message is one sentence that names the file or argument, what was expected and what came.
    Programming mistakes raise ValueError or TypeError instead.
    """
