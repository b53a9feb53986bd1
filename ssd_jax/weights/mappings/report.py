"""What became of the arrays of a file, in a few lines."""

from collections.abc import Sequence

from ssd_jax.weights.mappings.types import Report

SHOWN = 3  # names that a line lists
AS_IT_IS = "as they are"


def as_table(report: Report) -> str:
    """Returns a line for each thing that was done to arrays, and for what is left on either side, with their names.

    The names are the file's; those that it lacks are ours.
    """
    done: dict[str, list[str]] = {}
    for use in report.uses:
        done.setdefault(", ".join(use.how) or AS_IT_IS, []).append(use.source)
    left: dict[str, list[str]] = {}
    for name, reason in report.left:
        left.setdefault(f"not used: {reason}", []).append(name)
    random = {"not in the file (random)": list(report.random)}
    rows = [(what, names) for part in (done, left, random) for what, names in part.items() if names]
    width = max((len(what) for what, _ in rows), default=0)
    lines = [f"{report.family}: {len(report.uses)} arrays, {report.numbers:,} numbers"]
    lines += [f"  {what:<{width}}  {len(names):>4}  {_listed(names)}" for what, names in rows]
    return "\n".join((*lines, *(f"  note: {note}" for note in report.notes)))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= SHOWN else f"{', '.join(names[: SHOWN - 1])} ... {names[-1]}"
