"""The child process that runs pty-chi: `python -m foldlight.reconstruct.ptychi_child FOLDER PARENT`.

pty-chi sets the default device, the default dtype and all random seeds of its process, so it gets one of its own.
In the folder: `frames.npy`, `scan.npz` and `settings.json` in, `result.npz` out; on stdout one line an epoch.

What is different on pty-chi's side is translated here and nowhere else:

- its FFT is not normalised, so its probe is ours divided by `sqrt(H W)`;
- its patch begins at `position + origin - (N - 1) / 2` and ours at `position - N // 2`, so the origin lies half a pixel
  before the point that positions are counted from; it is given, as what pty-chi derives differs for even and odd sizes;
- its positions are float32, so they are counted from their middle;
- it copies frames that it is given as an array, and again to move their zero frequency to the corner; given as a tensor
  over the map of a file, with the zero frequency there already, they stay in the file, `4 H W` bytes a frame of pages
  that the system may take back at any time. Difference map keeps its waves beside them, `8 H W` bytes a frame and mode.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foldlight.core.files import replacing
from foldlight.core.processes import die_with
from foldlight.core.seeds import integer_seed
from foldlight.reconstruct.settings import IterativeSettings

__all__ = ["main"]

_MARGIN_PX = 8  # room around the canvas for positions on the move
_WEAK_MODES = 0.02  # of the probe's power in each mode that the scan's probe lacks


def main(folder: Path, parent: int) -> None:
    """Read the folder, reconstruct, write the result; the reason of a failure is the last line printed."""
    die_with(parent)
    settings = IterativeSettings.parse(json.loads((folder / "settings.json").read_text(encoding="utf-8")))
    torch.set_num_threads(settings.threads or 1)
    if settings.device == "cuda" and not torch.cuda.is_available():
        sys.exit("expected a CUDA device, torch finds none; use device='cpu'")
    with np.load(folder / "scan.npz") as archive:
        scan = {name: archive[name] for name in archive.files}
    declared = _declare_torchvision_operators()
    result = _reconstruct(np.load(folder / "frames.npy", mmap_mode="c"), scan, settings)
    del declared
    with replacing(folder / "result.npz") as temporary:
        np.savez(temporary, **result)  # type: ignore[arg-type]


def _reconstruct(frames: np.ndarray, scan: dict[str, np.ndarray], settings: IterativeSettings) -> dict[str, np.ndarray]:
    """Run all epochs; object, probe and positions in the scan's terms, and the loss of each epoch."""
    from ptychi.api.task import PtychographyTask

    middle = 2 * np.round(
        scan["positions_px"].mean(axis=0) / 2
    )  # even: half pixels round the same way as on the canvas
    positions = scan["positions_px"] - middle
    unit = np.float32(np.sqrt(np.prod(frames.shape[1:])))
    task = PtychographyTask(
        _options(settings, origin=(middle + _MARGIN_PX - 0.5).tolist()),
        diffraction_data=torch.from_numpy(frames),
        object_data=np.pad(scan["object"], _MARGIN_PX, mode="edge")[None],
        probe_data=_with_modes(scan["probe"] / unit, settings.probe_modes),
        probe_position_y_px=positions[:, 0],
        probe_position_x_px=positions[:, 1],
        valid_pixel_mask=np.fft.ifftshift(scan["mask"]),
    )
    loss = _iterate(task, settings.epochs or 1)
    inner = slice(_MARGIN_PX, -_MARGIN_PX)
    return {
        "object": _numbers(task, "object")[0, inner, inner],
        "probe": _numbers(task, "probe")[0] * unit,
        "positions_px": _numbers(task, "probe_positions").astype(np.float64) + middle,
        "loss": loss,
    }


def _numbers(task: Any, name: str) -> np.ndarray:
    return np.asarray(task.get_data_to_cpu(name, as_numpy=True))


def _iterate(task: Any, epochs: int) -> np.ndarray:
    """Run epoch by epoch, a line each, and stop at the first loss that is not finite."""
    losses: list[float] = []
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        task.run(1)
        losses.append(float(task.reconstructor.loss_tracker.table["loss"].iloc[-1]))
        _say(f"epoch {epoch}/{epochs}: loss {losses[-1]:.6g}, {time.perf_counter() - start:.2f} s")
        if not np.isfinite(losses[-1]):
            sys.exit(f"diverged, loss {losses[-1]} in epoch {epoch}; use smaller steps or check the frames")
    return np.array(losses)


def _options(settings: IterativeSettings, origin: list[float]) -> Any:
    """pty-chi's options."""
    from ptychi import api

    options = {"lsqml": api.LSQMLOptions, "rpie": api.RPIEOptions, "dm": api.DMOptions}[settings.engine]()

    run = options.reconstructor_options
    run.num_epochs = settings.epochs
    run.random_seed = integer_seed(settings.seed, "pty-chi") % 2**32  # numpy's old seeds have 32 bits
    run.default_device = api.Devices.GPU if settings.device == "cuda" else api.Devices.CPU
    options.data_options.fft_shift = False  # frames and mask have their zero frequency in the corner

    thing = options.object_options
    thing.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    thing.position_origin_coords = origin
    thing.step_size = settings.object_step
    thing.remove_object_probe_ambiguity.enabled = settings.fit_probe  # it rescales the probe

    probe = options.probe_options
    probe.optimizable = settings.fit_probe
    probe.optimization_plan.start = settings.fit_probe_from
    probe.step_size = settings.probe_step
    probe.orthogonalize_incoherent_modes.enabled = settings.fit_probe

    positions = options.probe_position_options
    positions.optimizable = settings.fit_positions
    positions.optimization_plan.start = settings.fit_positions_from

    if settings.engine == "dm":
        run.chunk_length = settings.batch_size
        run.exit_wave_update_relaxation = settings.dm_relaxation
        return options
    run.batch_size = settings.batch_size
    if settings.engine == "rpie":
        thing.alpha = probe.alpha = settings.rpie_alpha
    else:
        run.rescale_probe_intensity_in_first_epoch = False  # done before, on valid pixels only
    return options


def _with_modes(probe: np.ndarray, modes: int) -> np.ndarray:
    """(1, mode, y, x) probe with at least `modes` modes; those it lacks are orthogonal to its first, and weak."""
    if modes <= len(probe):
        return probe[None]
    from ptychi.utils import orthogonalize_initial_probe

    padded = torch.zeros(1, modes, *probe.shape[1:], dtype=torch.complex64)
    padded[0, : len(probe)] = torch.from_numpy(probe)
    fresh = orthogonalize_initial_probe(padded.clone(), secondary_mode_energy=_WEAK_MODES)
    padded[0, len(probe) :] = fresh[0, len(probe) :]
    return padded.numpy()


def _declare_torchvision_operators() -> torch.library.Library | None:
    """Let torchvision, of which pty-chi needs one blur, import where its binary does not fit this torch.

    torchvision describes two detection operators at import and fails when its binary did not register them (one built
    for CUDA beside a torch built without). The declarations live as long as the object returned.
    """
    spec = importlib.util.find_spec("torchvision")
    for place in (spec and spec.submodule_search_locations) or ():
        for library in Path(place).glob("_C.*"):
            try:
                torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
            except OSError:
                continue
    if hasattr(torch.ops.torchvision, "nms"):
        return None
    declared = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    return declared


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
