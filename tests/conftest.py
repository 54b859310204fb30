"""Shape annotations are checked in every test run; one thread, so that results repeat to the bit."""

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("foldlight", "shape_checker.check")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
