"""A reconstruction that several processes share."""

from dataclasses import replace

from foldlight.core.errors import SettingsError
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstruction, Reconstructor
from foldlight.scan import Scan
from foldlight.train.distributed import Ranks

__all__ = ["reconstruct_on"]


def reconstruct_on(ranks: Ranks, reconstructor: Reconstructor, scan: Scan) -> Reconstruction | None:
    """What a method makes of a scan, on all processes that were started; None in all but the first.

    Only the network shares its work: an iterative method's frames all change one object, so processes would have to
    exchange it after each batch. A scan that fits into one tile of the network is made by the first process alone, so
    that the image does not depend on the number of processes.

    Args:
        ranks: this process among the others; each of them has to call this with the same scan.
        reconstructor: the method; a network that computes on this process's own device.
        scan: frames, positions and probe.

    Raises:
        SettingsError: several processes, and another method than the network.
    """
    if ranks.alone:
        return reconstructor.reconstruct(scan)
    if not isinstance(reconstructor, NeuralReconstructor):
        raise SettingsError(
            f"{reconstructor.arm}: expected one process, got {ranks.size}, and only the network shares its work; start"
            " it without torchrun"
        )
    shared = replace(reconstructor, ranks=ranks, progress=reconstructor.progress and ranks.first)
    if ranks.first:
        return shared.reconstruct(scan)
    shared.assist(scan)
    return None
