"""The scan container: one scan of any size in one HDF5 file; `specs/scan_container.md` states it.

`/frames` whole photons in the smallest integers that hold them, contiguous or packed; `/positions_px`, `/probe`,
`/mask`, `/object`, `/frame_index`, `/metadata`; and what a pass over the frames would find, so that none is needed.
"""

import importlib.metadata
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foldlight.core.errors import DataError
from foldlight.core.files import replacing
from foldlight.core.progress import progress_bar
from foldlight.core.provenance import sha256_arrays
from foldlight.frames import Frames, Stored, Summary
from foldlight.geometry import Geometry
from foldlight.io.detector import refuse_crop
from foldlight.io.frame_writer import COUNTS, REALS, FrameWriter
from foldlight.io.frames import (
    probe_for,
)
from foldlight.io.hdf5 import Hdf5, is_hdf5, open_hdf5, reserve, told_writing, written_hdf5
from foldlight.io.npz import about
from foldlight.io.options import ReadOptions
from foldlight.io.stored import ChunkedFrames, ContiguousFrames
from foldlight.scan import Scan

if TYPE_CHECKING:
    import h5py

__all__ = ["NAME", "SIGNS", "matches", "read", "verify_container", "write", "write_container"]

NAME = "foldlight scan"
SIGNS = f"the attribute format = {NAME}"
_VERSION = 1
_NOTES_BYTES = 2**16  # what HDF5 writes beside arrays
_PACKED = "frames: packed, slow to train from: `foldlight convert` unpacks them"
_FOUND = ("path", "format", "sha256", "seal", "source")  # facts about the file a scan was read from


def matches(file: Hdf5) -> bool:
    """Whether an HDF5 file is meant as a container, complete or not."""
    return _text(file.attribute("format")) == NAME


def read(file: Hdf5, options: ReadOptions) -> Scan:
    """A scan from an open container; no frame is read.

    Raises:
        DataError: a dataset is missing, or is not what the layout or a Scan asks for; the seal is broken; the file is
            still being written; an option contradicts the layout.
    """
    _refuse_options(options)
    refuse_crop(options)
    version = file.attribute("version")
    if version is None or _single("version", version) != _VERSION:
        raise DataError(f"version: expected {_VERSION}, got {version}; update foldlight")
    positions = file.dataset("positions_px")
    frames, n, notes = _frames(file, len(positions) if positions.ndim else 0)
    parts = _parts(file, n, frames)
    seal = _text(file.attribute("seal")) if n == len(positions) else None
    if seal is not None and seal != _seal(parts, frames.stored.dtype, frames.shape):
        raise DataError("seal: expected positions, probe, object, sums and notes as they were written; copy it again")
    facts, guess = _facts(parts["metadata"]), parts["object"]
    known = Summary(parts["frame_totals"], parts["mean_frame"], tuple(parts["frame_digests"])) if seal else None
    probe, probe_notes = probe_for("probe", parts["probe"], frames, facts["geometry"], options, in_photons=True)
    scan = Scan(
        replace(frames, known=known),
        parts["positions_px"],
        probe,
        _canvas(parts["canvas"]),
        object=None if options.ignore_object or not guess.size else guess,
        object_is_truth=bool(parts["flags"][1]) and guess.size > 0 and not options.ignore_object,
        mask=parts["mask"],
        notes=(*facts["notes"], *notes, *probe_notes),
        origin={**facts["origin"], **({"seal": seal} if seal else {})},
        frame_index=parts["frame_index"],
        geometry=facts["geometry"],
    )
    return scan.turned(options.orientation, options.translation_sign == "sample", options.position_order == "xy")


def _refuse_options(options: ReadOptions) -> None:
    """A container leaves nothing to be said; what agrees with it may be."""
    stated = {"values": "intensity", "zero_frequency": "centre", "axis_order": "nyx"}
    for name, fixed in stated.items():
        asked = getattr(options, name)
        if asked not in {"auto", fixed}:
            raise DataError(
                f"a scan container states its {name}, {fixed}: got the option {name} = {asked}; leave it out"
            )
    if options.scale not in {None, 1.0}:
        raise DataError(f"a scan container holds photons: got the option scale = {options.scale:g}; leave it out")


def _frames(file: Hdf5, places: int) -> tuple[Frames, int, list[str]]:
    """The frames, not read; how many; and notes."""
    dataset = file.dataset("frames")
    with about("frames"):
        if dataset.dtype.newbyteorder("<") not in {*COUNTS, REALS} or dataset.ndim != 3:
            raise DataError(
                f"expected (n, y, x) of uint8, uint16, uint32 or float32, got shape {dataset.shape} of {dataset.dtype}"
            )
        whole = dataset.dtype.kind == "u" or _flag("whole", file.attribute("whole", "frames"))
        n = min(len(dataset), places)
        ended = _flag("complete", file.attribute("complete"))
        if not (ended or file.unfinished):
            raise DataError(
                "expected a finished scan, got one with complete = 0 that is still being written; follow it with"
                " `foldlight live`, or take the frames that are there with --unfinished"
            )
        if ended and not len(dataset) == places:
            raise DataError(f"expected as many frames as positions, got {len(dataset)} frames and {places} positions")
        if not n:
            raise DataError("expected at least one frame with a position, got an empty scan")
        notes = [] if ended else [f"the scan was not finished: its first {n} frames were taken"]
        return Frames(_stored(file, dataset, n, notes), whole=whole), n, notes


def _stored(file: Hdf5, dataset: "h5py.Dataset", n: int, notes: list[str]) -> Stored:
    if dataset.is_virtual or dataset.external:
        raise DataError("expected frames in this file, got links to others; convert it where they are")
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is None:
            raise DataError("expected contiguous or chunked frames, got none of either; write the file again")
        return ContiguousFrames(file.path, int(offset), (n, *dataset.shape[1:]), dataset.dtype)
    file.affordable(math.prod(dataset.chunks) * dataset.dtype.itemsize)
    file.plausible(n * math.prod(dataset.shape[1:]) * dataset.dtype.itemsize)
    file.keep()
    if dataset.compression is not None:
        notes.append(_PACKED)
    return ChunkedFrames(dataset, f"{file.path}: frames", n)


def _parts(file: Hdf5, n: int, frames: Frames) -> dict[str, np.ndarray]:
    """Everything but the frames, as the seal takes it; what is absent is what its absence means."""
    window = frames.shape[1:]
    blocks = len(list(frames.blocks())) if n else 0
    canvas = np.atleast_1d(np.asarray(_present("canvas", file.attribute("canvas"))))
    object_truth = "object" in file and _flag("is_truth", file.attribute("is_truth", "object"))
    probe = _array(file, "probe", "<c8", (None, *window))
    return {
        "canvas": _typed("canvas", canvas, "<i8", (2,)),
        "flags": np.array([frames.whole, object_truth], dtype=np.uint8),
        "positions_px": _row_array(file, "positions_px", "<f8", (n, 2)),
        "probe": probe,
        "mask": _array(file, "mask", "|u1", window, np.ones(window, dtype=np.uint8)) > 0,
        "frame_index": _row_array(file, "frame_index", "<i8", (n,), np.arange(n, dtype=np.int64)),
        "frame_totals": _row_array(file, "frame_totals", "<f8", (n,), np.empty(0)),
        "mean_frame": _array(file, "mean_frame", "<f8", window, np.empty((0, 0))),
        "frame_digests": _array(file, "frame_digests", "|u1", (blocks, 32), np.empty((0, 32), dtype=np.uint8)),
        "object": _array(file, "object", "<c8", (None, None), np.empty((0, 0), dtype=np.complex64)),
        "metadata": np.frombuffer(_metadata_bytes(file), dtype=np.uint8),
    }


def _array(
    file: Hdf5, name: str, kind: str, shape: tuple[int | None, ...], absent: np.ndarray | None = None
) -> np.ndarray:
    """A dataset of one type and shape, where None is any size."""
    if absent is not None and name not in file:
        return absent
    _typed(name, file.dataset(name), kind, shape)
    return file.array(name).astype(np.dtype(kind).newbyteorder("="), copy=False)


def _row_array(
    file: Hdf5, name: str, kind: str, shape: tuple[int, ...], absent: np.ndarray | None = None
) -> np.ndarray:
    """The same with a row a frame; of an unfinished scan the first rows."""
    if not file.unfinished or (absent is not None and name not in file):
        return _array(file, name, kind, shape, absent)
    dataset = file.dataset(name)
    _typed(name, dataset, kind, (None, *shape[1:]))
    with about(name):
        if len(dataset) < shape[0]:
            raise DataError(f"expected {shape[0]} rows or more, one a frame, got {len(dataset)}")
    return file.array(name, rows=shape[0]).astype(np.dtype(kind).newbyteorder("="), copy=False)


def _typed(name: str, array: Any, kind: str, shape: tuple[int | None, ...]) -> Any:
    fits = array.ndim == len(shape) and all(want in {None, got} for want, got in zip(shape, array.shape, strict=True))
    if not fits or array.dtype.newbyteorder("=") != np.dtype(kind).newbyteorder("="):
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise DataError(f"{name}: expected ({sizes}) of {np.dtype(kind).name}, got {array.shape} of {array.dtype}")
    return array


def _present(name: str, value: Any) -> Any:
    if value is None:
        raise DataError(f"expected the attribute {name}, found none; write the file again")
    return value


def _single(name: str, value: Any) -> int:
    number = np.asarray(value)
    if number.size != 1 or number.dtype.kind not in "iub":
        raise DataError(f"{name}: expected a whole number, got {value!r}")
    return int(number.item())


def _flag(name: str, value: Any) -> bool:
    """Whether an attribute is set; one that is absent is not."""
    return value is not None and bool(_single(name, value))


def _text(value: Any) -> str | None:
    """An attribute that is text; None for anything else."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return value if isinstance(value, str) else None


def _canvas(sizes: np.ndarray) -> tuple[int, int]:
    height, width = sizes.tolist()
    return height, width


def _metadata_bytes(file: Hdf5) -> bytes:
    if "metadata" not in file:
        return b""
    stored = file.array("metadata")
    if stored.dtype.kind != "S" or stored.size != 1:
        raise DataError(f"metadata: expected one text of fixed length, got shape {stored.shape} of {stored.dtype}")
    return bytes(stored.item())


def _facts(metadata: np.ndarray) -> dict[str, Any]:
    """`notes`, `geometry` and `origin` of the metadata; what the writer was given to add is in the origin."""
    with about("metadata"):
        try:
            stated = json.loads(metadata.tobytes() or b"{}", parse_constant=lambda _: None)
        except (ValueError, RecursionError) as error:
            raise DataError(f"expected JSON: {error}") from None
        if not isinstance(stated, dict):
            raise DataError(f"expected a JSON object, got {type(stated).__name__}")
        stated.pop("created_by", None)
        geometry = Geometry.parse(stated.pop("geometry")) if "geometry" in stated else None
        notes, origin = stated.pop("notes", []), stated.pop("origin", {})
        if not (isinstance(notes, list) and all(isinstance(note, str) for note in notes) and isinstance(origin, dict)):
            raise DataError("expected notes as a list of sentences and origin as an object")
    return {"notes": notes, "origin": {**origin, **stated}, "geometry": geometry}


def _seal(parts: Mapping[str, np.ndarray], dtype: np.dtype, shape: tuple[int, int, int]) -> str:
    """sha256 of everything but the frames' bytes; the spec says of what exactly."""
    sizes = f"{dtype.newbyteorder('<').str} {shape}"
    return sha256_arrays(*parts.values(), np.frombuffer(sizes.encode(), dtype=np.uint8))


def write(path: Path, scan: Scan) -> tuple[Path, ...]:
    """`write_container`, as every format is written."""
    write_container(path, scan)
    return (path,)


def write_container(
    path: Path,
    scan: Scan,
    packed: bool = False,
    metadata: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> None:
    """Write a scan of any size as a container, a block of frames at a time; the same scan gives the same bytes.

    Whole photons up to 2^24, about 1.7e7, are exact, as everywhere past a reader.

    Args:
        path: the file.
        scan: read once, whether it lies in memory, in another file, or is made when read.
        packed: in chunks, shuffled and deflated: small, slow to read at random.
        metadata: more JSON-ready facts, for instance the time or the command line.
        progress: show a bar.

    Raises:
        DataError: photons that are negative or not finite, metadata that is not JSON or claims a name of the layout, no
            room, a folder that can't be written; nothing is left behind.
    """
    with about(str(path)):
        text = _metadata(scan, metadata or {})
        _refuse_full(path, scan, packed)
    with replacing(path) as temporary, told_writing(path):
        with progress_bar("writing", len(scan), progress) as advance:
            writer = FrameWriter(temporary, scan.photons, packed, lambda block: advance(block.stop))
            with writer:
                summary = Summary.of(scan.photons, writer.add)
        _write_rest(writer, scan, summary, text)


def _metadata(scan: Scan, extra: Mapping[str, Any]) -> bytes:
    """The JSON of `/metadata`; no clock is read. What is known of an earlier file becomes `source`."""
    contract: dict[str, Any] = {"created_by": f"foldlight {importlib.metadata.version('foldlight')}"}
    if scan.geometry is not None:
        contract["geometry"] = scan.geometry.plain()
    if taken := sorted({*contract, "notes", "origin", "geometry"} & extra.keys()):
        raise DataError(f"metadata: expected other names than the layout's own, got {', '.join(taken)}; rename them")
    before = {name: scan.origin[name] for name in _FOUND if name in scan.origin}
    origin = {name: fact for name, fact in scan.origin.items() if name not in _FOUND}
    origin |= {"source": before} if before else {}
    try:
        facts = {**extra, **contract, "notes": [note for note in scan.notes if note != _PACKED], "origin": origin}
        return json.dumps(facts, allow_nan=False, sort_keys=True, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise DataError(f"metadata: expected JSON-ready values in scan.origin and metadata: {error}") from None


def _refuse_full(path: Path, scan: Scan, packed: bool) -> None:
    """Refuse before hours of writing what can't fit, at one byte a pixel; packed sizes can't be known."""
    folder = next((above for above in path.absolute().parents if above.is_dir()), None)
    need = int(np.prod(scan.photons.shape, dtype=object))
    if folder is None or packed or (free := shutil.disk_usage(folder).free) >= need:
        return
    raise DataError(f"expected {need / 1e9:.2f} GB or more on the disk, got {free / 1e9:.2f} GB; free some, or pack it")


def _write_rest(writer: FrameWriter, scan: Scan, summary: Summary, text: bytes) -> None:
    """Everything but the frames, and the seal."""
    import h5py

    known = scan.object is not None
    parts: dict[str, np.ndarray] = {
        "canvas": np.array(scan.canvas, dtype=np.int64),
        "flags": np.array([scan.photons.whole, scan.object_is_truth and known], dtype=np.uint8),
        "positions_px": scan.positions_px,
        "probe": scan.probe.astype(np.complex64),
        "mask": scan.mask,
        "frame_index": scan.frame_index,
        "frame_totals": summary.totals,
        "mean_frame": summary.mean_frame,
        "frame_digests": np.stack(summary.digests),
        "object": np.empty((0, 0), np.complex64) if scan.object is None else scan.object.astype(np.complex64),
        "metadata": np.frombuffer(text, dtype=np.uint8),
    }
    with written_hdf5(writer.path, "r+") as file:
        reserve(file, sum(part.nbytes for part in parts.values()) + _NOTES_BYTES)
        for name in ("positions_px", "probe", "frame_index", "frame_totals", "mean_frame", "frame_digests"):
            file[name] = parts[name]
        if not scan.mask.all():
            file["mask"] = scan.mask.astype(np.uint8)
        if known:
            file["object"] = parts["object"]
            file["object"].attrs["is_truth"] = parts["flags"][1]
        file["metadata"] = np.array(text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))
        file.attrs["format"] = np.bytes_(NAME)  # of fixed length: the heap of others has no checksum
        file.attrs["version"] = np.int64(_VERSION)
        file.attrs["complete"] = np.uint8(1)
        file.attrs["canvas"] = parts["canvas"]
        file.attrs["seal"] = np.bytes_(_seal(parts, writer.dtype, writer.shape))


def verify_container(path: Path, progress: bool = False) -> str:
    """Read all frames of a container and compare them with what it says of them; one sentence when they agree.

    Raises:
        DataError: they don't, or the file is no sound container; the first differing frames are named.
    """
    if not is_hdf5(path):
        raise DataError(
            f"{path}: expected a scan container, an HDF5 file, got another or none; the checksums of an NPZ are"
            " compared whenever it is read"
        )
    with open_hdf5(path) as file:
        if not matches(file):
            raise DataError(f"expected a scan container ({SIGNS}), got another HDF5 file")
        scan = read(file, ReadOptions())
        frames = scan.photons
        if frames.known is None:
            return f"{len(scan)} frames, no digests to compare them with; foldlight convert writes them"
        stated = frames.known
        digests = iter(stated.digests)
        with progress_bar("verifying", len(scan), progress) as advance:
            for block in frames.blocks():
                found = Summary.of(Frames(frames[block]))
                _compare(block, found, stated.totals[block], next(digests))
                advance(block.stop)
    return f"{len(scan)} frames agree with their digests"


def _compare(block: slice, found: Summary, totals: np.ndarray, digest: np.ndarray) -> None:
    """Refuse a block of frames that is not what was stated.

    Raises:
        DataError: the totals tell which frame, the digest that some bit differs.
    """
    differing = np.flatnonzero(found.totals != totals)
    if len(differing):
        frame = block.start + int(differing[0])
        raise DataError(
            f"frames: expected {totals[differing[0]]:.9g} photons in frame {frame} as when they were written, got"
            f" {found.totals[differing[0]]:.9g}; copy the file again"
        )
    if not np.array_equal(found.digests[0], digest):
        raise DataError(
            f"frames: expected frames {block.start} to {block.stop - 1} as they were written, got other bytes; copy the"
            " file again"
        )
