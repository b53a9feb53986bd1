"""What the tables have in common: medians with their spread, lines about the machine, the options of the scripts."""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import timing

QUICK = "quick: tiny sizes that show that the script works; the figures mean nothing"


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns median, least and most."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def number(value: float) -> str:
    """Returns three significant digits, and all of those before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def span(value: Mapping[str, float] | None) -> str:
    """Returns a result of :func:`spread` as text; nothing for None."""
    if value is None:
        return ""
    return f"{number(value['median'])} ({number(value['low'])}-{number(value['high'])})"


def median(value: Mapping[str, float] | None, form: Callable[[float], str] = number) -> str:
    """Returns the median of a result of :func:`spread` as text; nothing for None."""
    return "" if value is None else form(value["median"])


def percent(value: float) -> str:
    """Returns a share as text."""
    return f"{value:.1%}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown, without the columns in which no row says anything."""
    kept = [place for place in range(len(columns)) if any(cells[place] for cells in rows)]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells[place].replace('|', '/') for place in kept)} |" for cells in lines)


def machine_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns where, with what and when was measured, and whether the figures mean anything."""
    machine = result.get("machine", {})
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())
    lines = [
        f"{machine.get('gpu') or 'no GPU'}; {machine.get('cpu')} ({machine.get('cpus')} cores)",
        f"Python {machine.get('python')}, {versions}; commit {machine.get('commit')}; {machine.get('date')}",
    ]
    return [*lines, QUICK] if result.get("quick") else lines


def page(result: Mapping[str, Any], notes: Sequence[str], *parts: str) -> str:
    """Returns the lines about the machine, notes, and the tables."""
    return "\n\n".join([*machine_lines(result), *notes, *parts])


def save(path: Path, result: Mapping[str, Any]) -> None:
    """Writes a result as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def main(
    measure: Callable[[bool, float], Mapping[str, Any]],
    markdown: Callable[[Mapping[str, Any]], str],
    description: str,
    arguments: Sequence[str] | None = None,
) -> int:
    """Answers the question of a script that has no sides of its own processes; returns the exit status.

    Args:
      measure: (quick, deadline by ``time.monotonic``) -> result with "rows", of which those not measured have "error".
      markdown: result -> text.
      description: for --help.
      arguments: of the command line.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that the script works")
    parser.add_argument("--seconds", type=float, default=1800, help="skip the rows for which no time is left")
    options = parser.parse_args(arguments)
    result = measure(options.quick, time.monotonic() + options.seconds)
    print(markdown(result))
    if options.json:
        save(options.json, result)
    return 0 if any("error" not in row for row in result["rows"]) else 1


def head(question: str, quick: bool, device: str) -> dict[str, Any]:
    """Returns what every result begins with."""
    return {"question": question, "quick": quick, "device": device, "machine": timing.machine()}
