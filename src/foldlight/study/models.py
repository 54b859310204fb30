"""Networks, an iterative reconstruction and the flat image on one scan: the arms that a study compares."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from foldlight.compare.efficiency import bias_fraction, error_gauge
from foldlight.compare.table import CompareSettings, Comparison, compare
from foldlight.core.errors import DataError
from foldlight.io.npz import about, open_npz
from foldlight.optics.coverage import coverage_map
from foldlight.optics.forward import expected_frames
from foldlight.reconstruct.constant import ConstantReconstructor
from foldlight.reconstruct.engines import load_network
from foldlight.reconstruct.hybrid import HybridReconstructor
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.reconstruct.settings import RefineSettings
from foldlight.scan import Scan
from foldlight.simulate.acquire import expose_again

__all__ = [
    "BASELINE_ARM",
    "HYBRID_ARM",
    "ITERATIVE_ARM",
    "PINN_ARM",
    "SUPERVISED_ARM",
    "TESTED_ARMS",
    "compare_models",
    "read_iterative",
]

PINN_ARM = "PtychoPINN"
"""The network that was trained on groups of frames."""

BASELINE_ARM = "Baseline"
"""The network that was trained on single frames."""

SUPERVISED_ARM = "Supervised"
"""The network that was trained on the true object, where it is known: what more knowledge than photons is worth."""

HYBRID_ARM = "Hybrid"
"""The first network's estimate, refined by some steps of likelihood."""

ITERATIVE_ARM = "PtyChi"
"""The reconstruction of an iterative engine."""

TESTED_ARMS = (PINN_ARM, BASELINE_ARM, SUPERVISED_ARM, HYBRID_ARM, ITERATIVE_ARM)
"""Arms of a study, in the order of its tables; the flat image is what they have to beat."""

_OWN_KEYS = {"object", "probe", "positions_px", "coverage", "_metadata"}
_FOREIGN_KEYS = ("reconstructed_object", "object", "objectGuess")
_BLOCK = 128  # frames predicted at a time


def compare_models(
    scan: Scan,
    pinn: Path | None,
    baseline: Path | None,
    iterative: Path | None,
    settings: CompareSettings | None = None,
    heldout: Scan | None = None,
    exposure_ratio: float = 1.0,
    device: str = "cpu",
    progress: bool = False,
    supervised: Path | None = None,
    noise_draws: int = 1,
    seed: int = 0,
    refine: RefineSettings | None = None,
) -> Comparison:
    """Reconstruct a scan with the networks and compare them with a reconstruction file and with the flat image.

    Args:
        scan: frames that every arm sees; its true object, where it is known, is seen by none.
        pinn: bundle of the grouped network, or the folder it lies in; its arm is left out when None, as are the others.
        baseline: bundle of the network of single frames, or its folder.
        iterative: reconstruction file, ours or foreign; see `read_iterative`.
        settings: defaults when None.
        heldout: counts of the same frames that no arm has seen.
        exposure_ratio: exposure of the held-out counts over that of the scan's.
        device: where the networks run.
        progress: show a bar.
        supervised: bundle of the network that was trained on a true object, or its folder.
        noise_draws: exposures that each network reconstructs, that of the scan among them; two or more, and a truth,
            give the networks their `bias_fraction`.
        seed: root seed of the further exposures.
        refine: one arm more, the first of these networks refined so; none when None, or where there is no network.

    Raises:
        BundleError: a bundle is missing or can't be used.
        DataError: the file or a network does not fit the scan, or the file was made from other data.
        SettingsError: see `compare`.
    """
    networks: list[NeuralReconstructor | HybridReconstructor] = [
        replace(load_network(bundle, device, progress), arm=arm)
        for arm, bundle in ((PINN_ARM, pinn), (BASELINE_ARM, baseline), (SUPERVISED_ARM, supervised))
        if bundle is not None
    ]
    if refine is not None and networks:
        networks.append(HybridReconstructor(networks[0], refine, progress))
    arms = [network.reconstruct(scan) for network in networks]
    if iterative is not None:
        arms.append(read_iterative(iterative, scan))
    arms.append(ConstantReconstructor().reconstruct(scan))
    found = compare(scan, arms, heldout, exposure_ratio, settings)
    if scan.truth is None or noise_draws < 2:
        return found
    exposures = [expose_again(scan, seed, f"bias {draw}") for draw in range(1, noise_draws)]
    fractions = {}
    for network, scored in zip(networks, arms, strict=False):
        estimates = [scored.object, *(network.reconstruct(exposure).object for exposure in exposures)]
        fractions[network.arm] = bias_fraction(estimates, scan.truth, found.mask, error_gauge(scored, scan))
    return found.with_bias(fractions)


def read_iterative(path: Path, scan: Scan) -> Reconstruction:
    """A reconstruction of a scan from a file, under the study's name; who made it stays in its settings.

    A foreign NPZ holds a complex 2-D `reconstructed_object`, `object` or `objectGuess` on the scan's canvas. Probe and
    positions are then the scan's; the object's scale, which only its own probe could tell, is set so that it lets
    through as many photons as were counted. What it cost is unknown, and so is what it was made from.

    Raises:
        DataError: the file is missing, damaged, holds neither, does not fit the scan, or is the scan's true object.
    """
    with open_npz(path) as archive:
        ours = set(archive.keys) >= _OWN_KEYS
        found = None if ours else _foreign_object(archive.keys)
        image = None if found is None else archive[found]
    if found is None or image is None:
        made = Reconstruction.load(path)
        return replace(made, arm=ITERATIVE_ARM, settings={**made.settings, "made_by": made.arm})
    with about(f"{path}: {found}"):
        return _adopted(image, scan, {"made_by": "unknown", "file": path.name, "key": found})


def _foreign_object(keys: tuple[str, ...]) -> str:
    found = next((key for key in _FOREIGN_KEYS if key in keys), None)
    if found is None:
        raise DataError(
            f"expected a foldlight reconstruction or one of the keys {', '.join(_FOREIGN_KEYS)}, found"
            f" {', '.join(keys) or 'none'}"
        )
    return found


def _adopted(image: np.ndarray, scan: Scan, settings: dict[str, str]) -> Reconstruction:
    """Somebody's object as a reconstruction of the scan."""
    if image.dtype.kind != "c" or image.shape != scan.canvas:
        raise DataError(
            f"expected a complex object on the scan's {scan.canvas[0]} x {scan.canvas[1]} canvas, got {image.dtype}"
            f" {image.shape}; crop or pad it to where the scan's positions look"
        )
    if not np.isfinite(image).all():
        raise DataError("expected a finite object, got NaN or infinity; the method diverged")
    if scan.truth is not None and np.array_equal(image, scan.truth):
        raise DataError("expected a reconstruction, got the scan's own true object; give the file of the method")
    scale = _photon_scale(image, scan)
    return Reconstruction(
        arm=ITERATIVE_ARM,
        object=(scale * image).astype(np.complex64),
        probe=scan.probe,
        positions_px=scan.positions_px,
        coverage=coverage_map(scan.probe, scan.positions_px, scan.canvas),
        ledger=Ledger(None, None, None, None, None, device="unknown", threads=None),
        settings={**settings, "scale_to_photons": f"{scale:.6g}"},
    )


def _photon_scale(image: np.ndarray, scan: Scan) -> float:
    """Factor by which an object lets through, on valid pixels, the photons that were counted there."""
    canvas, probe = torch.from_numpy(image.astype(np.complex64))[None], torch.from_numpy(scan.probe)
    mask, positions = torch.from_numpy(scan.mask), torch.from_numpy(scan.positions_px)[None]
    predicted = 0.0
    for start in range(0, len(scan), _BLOCK):
        frames = expected_frames(canvas, probe, positions[:, start : start + _BLOCK])[0]
        predicted += float(frames[:, mask].sum(dtype=torch.float64))
    if not predicted > 0:
        raise DataError("expected an object that lets light through where the scan looks, got zeros")
    counted = float(scan.photons.mean_frame[scan.mask].sum()) * len(scan)
    return float(np.sqrt(counted / predicted))
