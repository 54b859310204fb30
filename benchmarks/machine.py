"""What this machine can do at best, and what a computation asks of it.

Convolutions by their multiplications and additions, Fourier transforms by their number, copies by their bytes: the
floors under a network, an iteration and a stitcher. All on the number of threads that torch has now.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import repeated_seconds

__all__ = ["Work", "convolution_rate", "copy_seconds", "transform_seconds", "work_of"]

_LEAST_S = 0.05  # per reading of a rate
_TRANSFORMS = 64  # in a batch whose time is read
# (images, channels, side [px]): the shapes of U-Nets on 64 px frames, small to large; the best of them is the peak.
_CONVOLUTIONS = ((32, 16, 64), (32, 32, 32), (32, 64, 16), (16, 64, 32), (8, 128, 16))


@dataclass(frozen=True)
class Work:
    """What a computation asks of a machine.

    Attributes:
        flops: additions and multiplications of convolutions and matrix products, each counted once.
        transforms: 2-D complex transforms, in units of one of the window's size (by pixels transformed).
    """

    flops: float
    transforms: float


def work_of(action: Callable[[], object], window: tuple[int, int]) -> Work:
    """Count the work of one call on this thread; additions of other kinds, copies and element-wise maths are left out.

    Source: torch.utils.flop_counter (2 a multiply-add); transforms are counted by pixels, leaving out the logarithm.
    """
    transforms = _TransformCount(window)
    # The flop counter takes composite operations apart, so it has to see them first, and the transforms after it.
    with transforms, FlopCounterMode(display=False) as flops:
        action()
    return Work(float(flops.get_total_flops()), transforms.number)


def convolution_rate() -> float:
    """Flop a second of the fastest 3 x 3 convolution of those tried."""
    run, flops = _fastest_convolution(torch.get_num_threads())
    return flops / repeated_seconds(run, _LEAST_S)


def transform_seconds(window: tuple[int, int]) -> float:
    """Seconds for one 2-D complex64 transform of a window, in a batch."""
    fields = torch.ones(_TRANSFORMS, *window, dtype=torch.complex64)
    return repeated_seconds(lambda: torch.fft.fft2(fields), _LEAST_S) / _TRANSFORMS


def copy_seconds(size: int) -> float:
    """Seconds to copy that many bytes from memory to memory."""
    source = np.ones(size, dtype=np.uint8)
    target = np.zeros_like(source)  # pages are there before the clock starts
    np.copyto(target, source)
    return repeated_seconds(lambda: np.copyto(target, source), _LEAST_S)


@cache
def _fastest_convolution(threads: int) -> tuple[Callable[[], torch.Tensor], float]:
    """The convolution of the highest rate, and its flop; tried once for each number of threads."""
    del threads  # the key of the cache
    tried = []
    for images, channels, side in _CONVOLUTIONS:
        for layout in (torch.contiguous_format, torch.channels_last):
            image = torch.ones(images, channels, side, side).to(memory_format=layout)
            weight = torch.ones(channels, channels, 3, 3).to(memory_format=layout)

            def run(image: torch.Tensor = image, weight: torch.Tensor = weight) -> torch.Tensor:
                with torch.inference_mode():
                    return torch.conv2d(image, weight, padding=1)

            run()
            flops = 2.0 * images * channels**2 * 9 * side**2
            tried.append((flops / repeated_seconds(run, _LEAST_S), run, flops))
    _, best, flops = max(tried, key=lambda each: each[0])
    return best, flops


class _TransformCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts complex transforms by the pixels that pass through them."""

    def __init__(self, window: tuple[int, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pixels = window[0] * window[1]
        self.number = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten._fft_c2c:
            self.number += result.numel() / self._pixels
        return result
