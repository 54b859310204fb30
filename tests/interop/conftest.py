"""Other programs, in an environment of their own, `make interop`; they are called, and nothing of them is copied."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A binary of torchvision that was built for another torch registers no operators, and its import fails for want of two
# that nothing here uses. Declared, they are not missed.
_DECLARES = """
import torch
if not hasattr(torch.ops.torchvision, "nms"):
    declared = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """Runs a program of this environment: its exit status, and all that it said."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(_DECLARES)
    own = {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path_factory.mktemp("home"))}

    def run(*words: object) -> tuple[int, str]:
        command = [str(Path(sys.executable).with_name(str(words[0]))), *map(str, words[1:])]
        done = subprocess.run(
            command, env={**os.environ, **own}, capture_output=True, text=True, timeout=240, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run
