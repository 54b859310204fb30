"""A batch folder of ptychodus, worked on as `ptychodus -b reconstruct|train -i IN -o OUT` works on it.

In: `diffraction.h5`, `product.h5`, `settings.ini`, and `model.h5.zip` where there is a trained network. Out of
`reconstruct`: `product.h5`, whose object has the shape, pixel and centre of the one that came in, so that images
overlay, and `reconstruction.npz`; out of `train`: `model.h5.zip`. Both leave `foldlight.json`, a record of what was
done. Docs: docs/ptychodus.md.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from foldlight.bundle import starting_model, write_bundle
from foldlight.core.files import write_json
from foldlight.core.provenance import environment
from foldlight.doctor import diagnose
from foldlight.forecast import shortage
from foldlight.frontends.settings import MODEL, Batch
from foldlight.io import read_scan
from foldlight.io.ptychodus import DIFFRACTION, PRODUCT, product_of
from foldlight.io.ptychodus_product import write_product
from foldlight.io.stored import ContiguousFrames
from foldlight.reconstruct.engines import make_reconstructor
from foldlight.reconstruct.protocol import Reconstruction
from foldlight.reconstruct.sharded import reconstruct_on
from foldlight.scan import Scan
from foldlight.train.distributed import ALONE, Ranks
from foldlight.train.fit import fit

__all__ = ["run_batch"]

Say = Callable[..., None]

_UNPACKED_BYTES = 2**32  # of frames that are kept in memory rather than unpacked again and again
_FLUORESCENCE = "fluorescence.h5"


def run_batch(batch: Batch, say: Say, ranks: Ranks = ALONE) -> None:
    """Do what a batch folder asks for.

    Args:
        batch: what to do.
        say: receives each line of the log as it happens.
        ranks: the processes that share the work, each of which calls this.

    Raises:
        FoldlightError: a file can't be read or written, or the engine or the training refused.
    """
    begun = time.perf_counter()
    scan = read_scan(batch.input / DIFFRACTION, batch.reading)
    task = batch.engine if batch.action == "reconstruct" else "train"
    short = shortage(scan, task) if batch.device == "cpu" else None
    if ranks.first:
        grave = [f"doctor: {each.line}" for each in diagnose(scan, quick=True).grave]
        say(*scan.notes, *grave, *([short] if short else []))
        batch.output.mkdir(parents=True, exist_ok=True)
    made = (_reconstruct if batch.action == "reconstruct" else _train)(batch, _unpacked(scan), say, ranks)
    if made is None:
        return
    record = {
        "settings": batch.plain(),
        "notes": list(scan.notes),
        "environment": environment(),
        "seconds": round(time.perf_counter() - begun, 3),
    }
    write_json(batch.output / "foldlight.json", {**record, **made})


def _unpacked(scan: Scan) -> Scan:
    """The scan with frames that are quick to read: ptychodus packs them."""
    stored = scan.photons.stored
    size = int(np.prod(stored.shape, dtype=object)) * stored.dtype.itemsize
    if isinstance(stored, np.ndarray | ContiguousFrames) or size > _UNPACKED_BYTES:
        return scan
    return replace(scan, photons=replace(scan.photons, stored=stored[:]))


def _reconstruct(batch: Batch, scan: Scan, say: Say, ranks: Ranks) -> dict[str, Any] | None:
    """Reconstruct and write; None in all processes but the first."""
    start = batch.start if batch.engine in {"network", "hybrid"} or batch.start else "flat"
    begins_with_network = start in {None, "network"}
    reconstructor = make_reconstructor(
        batch.engine,
        batch.options.model_copy(update={"device": ranks.device(batch.device)}),
        batch.bundle if begins_with_network else None,
        batch.output / "reconstruction.log",
        batch.likelihood,
        batch.refine,
        batch.start,
        batch.adapt,
    )
    made = reconstruct_on(ranks, reconstructor, scan)
    if made is None:
        return None
    made.save(batch.output / "reconstruction.npz")
    write_product(
        batch.output / PRODUCT, product_of(scan, made.object, made.probe, made.positions_px, _words(scan, made))
    )
    say(f"{made.arm}: {made.ledger.infer_seconds:.1f} s -> {batch.output / PRODUCT}")
    if (batch.input / _FLUORESCENCE).is_file():
        say(f"{_FLUORESCENCE}: not enhanced here; open the new product in ptychodus to do so")
    model = str(batch.bundle) if begins_with_network and batch.bundle else None
    return {"arm": made.arm, "model": model, "data_digest": made.data_digest, "reconstruction": made.settings}


def _words(scan: Scan, made: Reconstruction) -> dict[str, str]:
    """Name and comments of a product: those of the one that came in, and what was done."""
    before = scan.origin["ptychodus"]
    name, comments = (str(before.get(key, "")) for key in ("name", "comments"))
    versions = environment()
    done = f"foldlight {versions['foldlight']}: {made.arm}, {len(scan)} frames, data {made.data_digest[:12]}"
    return {
        "name": "_".join(part for part in (name, "foldlight", made.arm.casefold().replace(" ", "-")) if part),
        "comments": "\n".join(part for part in (comments, done) if part),
    }


def _train(batch: Batch, scan: Scan, say: Say, ranks: Ranks) -> dict[str, Any] | None:
    """Train and write; None in all processes but the first."""
    start = batch.start or (str(batch.bundle) if batch.bundle else None)
    first = starting_model(start, batch.network)
    training = fit(scan, batch.network, batch.training, batch.output, batch.resume, start=first, ranks=ranks)
    if not ranks.first:
        return None
    digest = write_bundle(batch.output / MODEL, training.model)
    best = min(row["validation_loss"] for row in training.history)
    say(
        f"validation loss {best:.5f}, flat object {training.flat_loss:.5f}, {training.seconds:.0f} s",
        f"bundle -> {batch.output / MODEL}",
        f"sha256 {digest}",
    )
    return {"sha256": digest, "start": start, "validation_loss": best, "flat_loss": training.flat_loss}
