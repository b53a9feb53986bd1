"""Parsing of the command line: absl flags and ``--config`` files, with errors in one sentence.

absl and ml_collections report a misspelt override, a missing config file or an exception inside one
with a traceback, or only when the config is first used. Here all of them become an InputError.
"""

import difflib
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from ssd_jax.errors import InputError


def parse(
    argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS, *, positional: Sequence[str] = ()
) -> list[str]:
    """Parses the command line and returns what is left of it: the program's name and the positional arguments.

    Args:
      argv: the command line, the program's name first.
      flag_values: where the flags are defined.
      positional: what the arguments that are no options are called; all of them are required, and one that
        ends with "..." may be given several times.

    Raises:
      InputError: an option is unknown, missing or of the wrong type, a config file is unusable, or there
        are too few or too many positional arguments.
    """
    files = list(_config_files(argv, flag_values))
    names = [name for name, _ in files]
    for name in names:
        _check_once(name, names)
    try:
        rest = flag_values(argv)
        for name, argument in files:
            _check_config(name, flag_values[name], argument, argv)
    except (InputError, BrokenPipeError):  # the latter: nobody reads the help
        raise
    except Exception as error:  # whatever a config file, which is the user's code, may raise
        raise InputError(_describe(error, argv, flag_values)) from error
    repeated = bool(positional) and positional[-1].endswith("...")
    surplus = [] if repeated else rest[1 + len(positional) :]
    if surplus:
        expected = f"{' '.join(positional)} and options" if positional else "options only"
        raise InputError(f"expected {expected} (--name=value), got {surplus[0]!r}")
    if len(rest) <= len(positional):
        raise InputError(f"{positional[len(rest) - 1]} is missing (--help lists the options)")
    return rest


def define_config_dict(
    name: str, config: ConfigDict, argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS, *, origin: str
) -> None:
    """Defines ``--name.section.key=value`` as overrides of a config that comes from no file.

    Args:
      name: of the flag.
      config: what is overridden.
      argv: the command line.
      flag_values: where the flag is defined.
      origin: what the config comes from, for the sentence that refuses a file.

    Raises:
      InputError: a file is given, or an override names no setting of the config. When the flags are parsed: as
        :func:`parse`.
    """
    if any(re.match(rf"--?{name}(=|$)", argument) for argument in argv):
        raise InputError(
            f"--{name}: expected no file, since the configuration comes from {origin}; "
            f"--{name}.SECTION.KEY=VALUE changes it"
        )
    if problem := _override_problem(name, config, argv):
        raise InputError(problem)
    default = config.copy_and_resolve_references()
    config_flags.DEFINE_config_dict(name, config, flag_values=flag_values, sys_argv=list(argv))

    def check(_: Any) -> bool:
        _check_tuples(name, config_flags.get_override_values(flag_values[name]), default, argv)
        return True

    flags.register_validator(name, check, flag_values=flag_values)


def _config_files(argv: Sequence[str], flag_values: flags.FlagValues) -> Iterator[tuple[str, str]]:
    """Yields (flag, path) of each config file named on the command line."""
    for name in flag_values:
        if not config_flags.is_config_flag(flag_values[name]):
            continue
        for position, argument in enumerate(argv):
            if argument in (f"--{name}", f"-{name}"):
                yield name, argv[position + 1] if position + 1 < len(argv) else ""
            elif match := re.match(rf"--?{name}=(.*)", argument):
                yield name, match[1]


def _describe(error: Exception, argv: Sequence[str], flag_values: flags.FlagValues) -> str:
    """Returns one sentence on why the command line could not be parsed."""
    if isinstance(error, flags.UnrecognizedFlagError):
        return _unknown_option(error.flagname, flag_values)
    for name, argument in _config_files(argv, flag_values):
        if problem := _config_problem(name, argument, argv, flag_values):
            return problem
    return sentence(error)


def sentence(error: Exception) -> str:
    """Returns the message of an error, without what absl puts around it."""
    if isinstance(error, InputError):
        return str(error)
    if match := re.match(r"flag --(\w+)=None: .* must have a value", str(error)):
        return f"--{match[1]} is required"
    message = str(error).strip().splitlines() or [type(error).__name__]
    return message[0].removeprefix("flag ")


def _unknown_option(name: str, flag_values: flags.FlagValues) -> str:
    section = name.split(".")[0]
    if "." in name and section in flag_values:
        return f"--{name} needs --{section}=FILE before it"
    return f"unknown option --{name}{_suggest(name, list(flag_values), prefix='--')} (--help lists the options)"


def _suggest(name: str, known: Sequence[str], *, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _config_problem(name: str, argument: str, argv: Sequence[str], flag_values: flags.FlagValues) -> str | None:
    """Returns what is wrong with a config file or with the overrides of it, or None."""
    path = Path(argument.split(":")[0])
    if not path.is_file():
        return f"--{name}: expected a config file, got {argument!r} ({_what_is(argument)})"
    try:
        config = flag_values[name].parser.parse(argument)
    except Exception as error:  # as in parse()
        return _inside_config(error, path)
    if not isinstance(config, ConfigDict):
        return f"{path}: expected get_config() to return a ConfigDict, got {type(config).__name__}"
    return _override_problem(name, config, argv)


def _what_is(argument: str) -> str:
    if not argument:
        return "nothing"
    return "a folder" if Path(argument).is_dir() else "no such file"


def _inside_config(error: Exception, path: Path) -> str:
    """Names the line of the config file (or of one it imports from its folder) that failed."""
    while isinstance(error.__context__, Exception):  # ml_collections wraps TypeError and ValueError
        error = error.__context__
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    message = str(error).splitlines()[0] if str(error) else ""
    if isinstance(error, AttributeError) and message.endswith("no attribute 'get_config'"):
        return f"{path}: expected a config file, which defines get_config()"
    folder = path.resolve().parent
    frames = traceback.extract_tb(error.__traceback__)
    places = [
        f"{frame.filename}, line {frame.lineno}" for frame in frames if Path(frame.filename).resolve().parent == folder
    ]
    return f"{places[-1] if places else path}: {type(error).__name__}: {message}"


def _override_problem(name: str, config: ConfigDict, argv: Sequence[str]) -> str | None:
    """Returns a sentence on the first override that names no setting of the config, or None."""
    settings = (re.match(rf"--?(?:no)?{name}\.([^=]+)", option) for option in argv)
    problems = (_unknown_setting(name, match[1], config) for match in settings if match)
    return next(filter(None, problems), None)


def _unknown_setting(name: str, setting: str, config: ConfigDict) -> str | None:
    """Returns a sentence if ``setting``, such as ``model.width``, is not one of the config."""
    node, at = config, name
    for key in setting.split("."):
        key = key.split("[")[0]
        if not isinstance(node, ConfigDict):
            return f"unknown setting --{name}.{setting}: {at} is a value, not a section"
        if key not in node:
            known = sorted(node)
            hint = _suggest(key, known) or f"; {at} has {', '.join(known)}"
            return f"unknown setting --{name}.{setting}{hint}"
        node, at = node[key], f"{at}.{key}"
    return None


def _check_config(name: str, flag: Any, argument: str, argv: Sequence[str]) -> None:
    """Refuses a config that was not loaded, which ml_collections reports only when it is used, and wrong tuples."""
    if not isinstance(flag.value, ConfigDict):
        raise TypeError("no config")  # _describe finds out why
    _check_tuples(name, flag.override_values, flag.parser.parse(argument), argv)


def _check_tuples(name: str, overrides: Mapping[str, Any], default: ConfigDict, argv: Sequence[str]) -> None:
    """Refuses tuple overrides of another element type, and those given twice, which ml_collections would join.

    It checks the types of scalars, but turns anything given for a tuple into one.
    """
    given = [option.lstrip("-").partition("=")[0] for option in argv if option.startswith("-")]
    for setting, value in overrides.items():
        if not isinstance(value, tuple):
            continue
        _check_once(f"{name}.{setting}", given)
        kinds = {type(element) for element in config_flags.GetValue(setting, default)}
        allowed = kinds | {int} if float in kinds else kinds
        if kinds and not {type(element) for element in value} <= allowed:
            expected = " or ".join(sorted(kind.__name__ for kind in kinds))
            raise InputError(f"--{name}.{setting}: expected a tuple of {expected}, got {value}")


def _check_once(option: str, given: Sequence[str]) -> None:
    if (times := given.count(option)) > 1:
        raise InputError(f"--{option}: expected once, given {times} times")
