"""Speed and size: `python -m benchmarks.speed --help`.

Every row is a ratio: to a peer that reaches the same end another way, or to a limit of the machine, measured in turns
in one process on one thread. Nothing here is asserted by a test.
"""

from benchmarks.suite import Row, Suite, main

__all__ = ["SPEED"]

_ROWS = "benchmarks.speed_rows"

SPEED = Suite(
    name="speed",
    title="Speed and size",
    rows=(
        Row("training", f"{_ROWS}.training:training"),
        Row("equal-ssim", f"{_ROWS}.training:equal_ssim"),
        Row("inference", f"{_ROWS}.network:inference"),
        Row("throughput", f"{_ROWS}.network:throughput", threads=None),
        Row("ml", f"{_ROWS}.likelihood:maximum_likelihood"),
        Row("dose-limit", f"{_ROWS}.likelihood:dose_limit"),
        Row("grouping", f"{_ROWS}.grouping:measure"),
        Row("disk", f"{_ROWS}.storage:measure"),
        Row("memory", f"{_ROWS}.memory:measure"),
        Row("streaming", f"{_ROWS}.memory:streamed"),
        Row("forecast", f"{_ROWS}.forecasts:measure"),
        Row("stitching", f"{_ROWS}.stitching:measure"),
        Row("startup", f"{_ROWS}.startup:measure", threads=None),
        Row("first-picture", f"{_ROWS}.first_picture:measure", threads=None),
    ),
    preface=(
        "Each row is measured in a process of its own, on one thread where nothing else is said; a value and what it is"
        " compared with take turns, and each ratio is formed repeat by repeat. Against a peer, below 1 is better than"
        " the peer; against a limit, 1 is all that the machine can do."
    ),
)

if __name__ == "__main__":
    main(SPEED)
