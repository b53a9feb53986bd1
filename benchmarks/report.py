"""The table of one or several questions, and the file that joins them.

python benchmarks/report.py [--tests TEXT] OUT PART.json ...     writes OUT/gpu.json and OUT/gpu.md
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "question",
    "network",
    "batch",
    "precision",
    "scene",
    "ours, ms (min-max)",
    "p99",
    "images/s",
    "TFLOP/s",
    "of peak",
    "torchvision, ms (min-max)",
    "p99",
    "images/s",
    "ours / torchvision",
    "compile, s",
)


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """Returns the description of the machine and one table of all rows."""
    machine = next((result["machine"] for result in results if "machine" in result), {})
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())
    head = [
        f"{machine.get('gpu') or 'no GPU'}; {machine.get('cpu')} ({machine.get('cpus')} cores)",
        f"Python {machine.get('python')}, {versions}; commit {machine.get('commit')}; {machine.get('date')}",
    ]
    for result in results:
        ceilings = result.get("matrix_tflops") or {}
        if ceilings:
            figures = ", ".join(f"{name} {value:.3g} TFLOP/s" for name, value in ceilings.items())
            head.append(f"measured matrix peak ({result['question']}): {figures}")
    if any(result.get("quick") for result in results):
        head.append("quick: a tiny network that shows that the scripts work; the figures mean nothing")
    rows = [_cells(row, result.get("matrix_tflops") or {}) for result in results for row in result["rows"]]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "\n\n".join([*head, "\n".join(f"| {' | '.join(cells)} |" for cells in lines)])


def brief(result: dict[str, Any]) -> str:
    """Returns a result in a few words, for the log."""
    return result.get("error") or f"{result['milliseconds']['median']:.4g} ms"


def ratio(row: dict[str, Any]) -> float | None:
    """Returns our images per second over the peer's, if both were measured."""
    sides = [row.get(side, {}).get("images_per_second") for side in ("ours", "peer")]
    return sides[0] / sides[1] if all(sides) else None


def _cells(row: dict[str, Any], ceilings: dict[str, float]) -> list[str]:
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


def _times(result: dict[str, Any]) -> list[str]:  # milliseconds, p99, images/s
    if "milliseconds" not in result:
        return [result.get("error", "").replace("|", "/"), "", ""]
    times = result["milliseconds"]
    # Queued calls are waited for in groups: their samples say nothing about the slowest single call.
    p99 = f"{times['p99']:.3f}" if result["calls_per_sample"] == 1 and result["samples"] >= 100 else ""
    spread = f"{times['median']:.3f} ({times['low']:.3f}-{times['high']:.3f})"
    return [spread, p99, f"{result['images_per_second']:.1f}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Joins the parts that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("parts", type=Path, nargs="*")
    parser.add_argument("--tests", default="not run", help="what became of the tests that need a GPU")
    options = parser.parse_args(arguments)
    results = [json.loads(part.read_text()) for part in options.parts if part.exists()]
    options.out.mkdir(parents=True, exist_ok=True)
    whole = {"tests": options.tests, "results": results}
    (options.out / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n")
    text = f"tests that need a GPU: {options.tests}\n\n{markdown(results)}\n"
    (options.out / "gpu.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
