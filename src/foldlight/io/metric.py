"""The last steps of every reader of files that hold metres: positions to pixels on a canvas, a probe, a scan."""

from typing import Literal

import numpy as np

from foldlight.frames import Frames
from foldlight.geometry import Geometry
from foldlight.io.frames import moved_to_canvas, placed_positions, probe_for
from foldlight.io.options import ReadOptions
from foldlight.scan import Scan

__all__ = ["metric_scan"]


def metric_scan(
    frames: Frames,
    geometry: Geometry,
    key: str,
    positions_m: np.ndarray,
    options: ReadOptions,
    notes: tuple[str, ...] = (),
    sign: Literal["beam", "sample"] = "beam",
    probe_key: str = "probe",
    probe: np.ndarray | None = None,
    in_photons: bool = False,
    frame_index: np.ndarray | None = None,
) -> Scan:
    """The scan that frames and positions make.

    Args:
        frames: as they are read.
        geometry: of the scan.
        key: name of the positions, for messages.
        positions_m: (n, 2) (y, x) [m].
        options: what the user says.
        notes: what the reader found so far.
        sign: whose motion the format says the positions are.
        probe_key: name of the probe, for messages.
        probe: (y, x) or (mode, y, x) complex as the file has it, or None.
        in_photons: it has its unit.
        frame_index: (n,) int64 number of each frame, or None.

    Raises:
        DataError: positions or probe are not what a scan asks for.
    """
    positions, place_notes = placed_positions(key, positions_m, geometry, options, sign)
    placed, canvas, canvas_note = moved_to_canvas(positions, frames.shape[1:])
    light, probe_notes = probe_for(probe_key, probe, frames, geometry, options, in_photons)
    return Scan(
        frames,
        placed,
        light,
        canvas,
        mask=frames.mask,
        notes=(*notes, *place_notes, canvas_note, *probe_notes),
        frame_index=np.empty(0, dtype=np.int64) if frame_index is None else frame_index,
        geometry=geometry,
    )
