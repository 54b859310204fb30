"""Print the plan; the design file says in its table `victim` what the victim does, and what it reads besides."""

import argparse
import json
import sys
import tomllib
from pathlib import Path

HOME = Path(__file__).parents[2] / "support"


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("output-root", "design", "accelerator"):
        parser.add_argument(f"--{name}", type=Path)
    given = parser.parse_args()
    victim = tomllib.loads(given.design.read_text())["victim"]
    source = [victim.pop("source")] if "source" in victim else []
    tasks = [
        task(given.output_root, "first"),
        task(given.output_root, "victim", "first", source=source, **victim),
        task(given.output_root, "after", "victim"),
        task(given.output_root, "other", "first"),
    ]
    plan = {"title": "toy", "root": str(given.output_root), "working_directory": str(HOME), "tasks": tasks}
    sys.stdout.write(json.dumps(plan))


def task(root: Path, name: str, *needs: str, function: str = "plain", source: list[str] = [], **more) -> dict:  # noqa: B006
    inputs = [*(f"files/{need}" for need in needs), *source]
    output = f"files/{name}"
    words = {"name": name, "inputs": inputs, "output": output, "manifest": "toy_manifest.json", **more}
    return {
        "name": name,
        "module": "fault_jobs",
        "arguments": [function, json.dumps(words), str(root)],
        "needs": list(needs),
        "inputs": [str(root / each) for each in inputs],
        "outputs": [str(root / output)],
        "weight": 2.0 if name == "victim" else 1.0,
    }


if __name__ == "__main__":
    main()
