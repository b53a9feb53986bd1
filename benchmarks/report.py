"""The table of one or several questions, the file that joins them, and the tables of docs/performance.md.

python benchmarks/report.py [--tests TEXT] OUT PART.json ...     writes OUT/gpu.json and OUT/gpu.md
python benchmarks/report.py --docs                               writes what was measured into docs/performance.md
"""

import argparse
import importlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import tables

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
BLOCK = re.compile(r"<!-- (benchmarks/measured/\w+\.json) -->\n.*?<!-- end -->", re.DOTALL)
NOT_MEASURED = "Not measured yet."
NETWORK_QUESTIONS = ("forward", "train step", "detect")  # one table of these; the other scripts have their own
BASE, WHOLE = "base alone", "with post-processing"  # scenes of forward.py: parts
COLUMNS = (
    "question",
    "network",
    "batch",
    "precision",
    "scene",
    "ours, p50 ms (min-max)",
    "p99",
    "images/s",
    "TFLOP/s",
    "of peak",
    "torchvision, p50 ms (min-max)",
    "p99",
    "images/s",
    "ours / torchvision",
    "compile, s",
)


def render(document: Mapping[str, Any]) -> str:
    """Returns what a JSON file of a script, or of gpu.sh, says, as Markdown."""
    if "results" not in document:
        return join([document])
    return f"tests that need a GPU: {document['tests']}\n\n{join(document['results'])}"


def join(results: Sequence[Mapping[str, Any]]) -> str:
    """Returns one table of the questions about the network, and below it those of the other scripts."""
    network = [result for result in results if result["question"] in NETWORK_QUESTIONS]
    others = [result for result in results if result["question"] not in NETWORK_QUESTIONS]
    parts = [markdown(network)] if network or not others else []
    parts += [importlib.import_module(f"benchmarks.{result['question']}").markdown(result) for result in others]
    return "\n\n".join(parts)


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """Returns the description of the machine and one table of all rows about the network."""
    head = dict(next((result for result in results if "machine" in result), {}))
    head["quick"] = any(result.get("quick") for result in results)
    notes = []
    for result in results:
        ceilings = result.get("matrix_tflops") or {}
        if ceilings:
            figures = ", ".join(f"{name} {value:.3g} TFLOP/s" for name, value in ceilings.items())
            notes.append(f"measured matrix peak ({result['question']}): {figures}")
        notes += division(result["rows"])
    rows = [_cells(row, result.get("matrix_tflops") or {}) for result in results for row in result["rows"]]
    return tables.page(head, notes, tables.table(COLUMNS, rows))


def division(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns how the time of the network is divided, for each case whose parts were all measured."""
    times = {
        tuple(row["case"][name] for name in ("network", "batch", "precision", "scene")): row["ours"]["milliseconds"]
        for row in rows
        if "milliseconds" in row["ours"]
    }
    lines = []
    for network, batch, precision, scene in times:
        case = network, batch, precision
        if scene or (*case, BASE) not in times or (*case, WHOLE) not in times:
            continue
        base, forward, whole = (times[*case, part]["median"] / batch for part in (BASE, "", WHOLE))
        parts = {"VGG-16": base, "extras and heads": forward - base, "decoding and suppression": whole - forward}
        shares = ", ".join(f"{name} {value:.3g} ms ({value / whole:.0%})" for name, value in parts.items())
        lines.append(f"{network}, batch {batch}, {precision}, an image, by difference of medians: {shares}")
    return lines


def brief(result: Mapping[str, Any]) -> str:
    """Returns a result in a few words, for the log."""
    return result.get("error") or f"{result['milliseconds']['median']:.4g} ms"


def ratio(row: Mapping[str, Any]) -> float | None:
    """Returns our images per second over the peer's, if both were measured."""
    sides = [row.get(side, {}).get("images_per_second") for side in ("ours", "peer")]
    return sides[0] / sides[1] if all(sides) else None


def _cells(row: Mapping[str, Any], ceilings: Mapping[str, float]) -> list[str]:
    case, ours, peer = row["case"], row["ours"], row.get("peer", {})
    tflops, ceiling, times = ours.get("tflops"), ceilings.get(case["precision"]), ratio(row)
    return [
        *(str(case[name]) for name in ("question", "network", "batch", "precision", "scene")),
        *_times(ours),
        f"{tflops:.3g}" if tflops else "",
        f"{tflops / ceiling:.1%}" if tflops and ceiling else "",
        *_times(peer),
        f"{times:.2f}" if times else "",
        f"{ours['compile_seconds']:.1f}" if ours.get("compile_seconds") else "",
    ]


def _times(result: Mapping[str, Any]) -> list[str]:  # milliseconds, p99, images/s
    if "milliseconds" not in result:
        return [result.get("error", ""), "", ""]
    times = result["milliseconds"]
    # Queued calls are waited for in groups: their samples say nothing about the slowest single call.
    p99 = f"{times['p99']:.3f}" if result["calls_per_sample"] == 1 and result["samples"] >= 100 else ""
    spread = f"{times['median']:.3f} ({times['low']:.3f}-{times['high']:.3f})"
    return [spread, p99, f"{result['images_per_second']:.1f}"]


def with_tables(page: str, root: Path = ROOT) -> str:
    """Returns a page in which each block names a file of figures, with what the file says in the blocks."""

    def block(match: re.Match) -> str:
        return f"<!-- {match[1]} -->\n\n{_measured(root, match[1])}\n\n<!-- end -->"

    return BLOCK.sub(block, page)


def _measured(root: Path, name: str) -> str:
    if not (root / name).exists():
        return NOT_MEASURED
    document = json.loads((root / name).read_text())
    if "results" in document:
        return f"`benchmarks/gpu.sh`\n\n{render(document)}"
    return f"`python benchmarks/{document['question'].replace(' ', '_')}.py --json {name}`\n\n{render(document)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Joins the parts that are there, or writes the tables of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("parts", type=Path, nargs="*")
    parser.add_argument("--tests", default="not run", help="what became of the tests that need a GPU")
    parser.add_argument("--docs", action="store_true", help="write the tables of docs/performance.md")
    options = parser.parse_args(arguments)
    if options.docs == (options.out is not None):
        parser.error("expected either OUT or --docs")
    if options.docs:
        PAGE.write_text(with_tables(PAGE.read_text()))
        return 0
    results = [json.loads(part.read_text()) for part in options.parts if part.exists()]
    whole = {"tests": options.tests, "results": results}
    tables.save(options.out / "gpu.json", whole)
    (options.out / "gpu.md").write_text(f"{render(whole)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
