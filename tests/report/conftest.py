"""A small comparison with and without truth, built by hand on a rectangular scan."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from foldlight.compare.files import (
    write_frc_csv,
    write_metrics_csv,
    write_metrics_json,
    write_objects,
    write_residual_frames,
    write_residual_rings,
    write_rows,
)
from foldlight.compare.table import FLAT_ARM, Comparison, compare
from foldlight.frames import Frames
from foldlight.optics.coverage import coverage_map
from foldlight.optics.forward import expected_frames
from foldlight.reconstruct.protocol import Ledger, Reconstruction
from foldlight.scan import Scan

CANVAS, WINDOW = (64, 80), (24, 16)


@pytest.fixture(scope="session")
def scan() -> Scan:
    rng = np.random.default_rng(4)
    amplitude, phase = (gaussian_filter(rng.normal(size=CANVAS), 2, mode="wrap") for _ in range(2))
    truth = (0.8 + 0.5 * amplitude) * np.exp(4j * phase)
    y, x = np.mgrid[-12:12, -8:8]
    probe = 30 * np.exp(-((y / 6) ** 2) - (x / 4) ** 2 + 0.02j * y * x)[None]
    grid = np.meshgrid(np.arange(13, 52, 5.0), np.arange(9, 71, 5.0), indexing="ij")
    positions = np.stack(grid, axis=-1).reshape(-1, 2)
    places = torch.from_numpy(positions)[None]
    expected = expected_frames(torch.from_numpy(truth)[None], torch.from_numpy(probe), places)[0].numpy()
    counts = rng.poisson(expected).astype(np.float32)
    return Scan(
        photons=Frames(counts),
        positions_px=positions,
        probe=probe.astype(np.complex64),
        canvas=CANVAS,
        object=truth.astype(np.complex64),
        object_is_truth=True,
    )


@pytest.fixture(scope="session")
def arms(scan: Scan) -> list[Reconstruction]:
    rng = np.random.default_rng(6)
    coverage = coverage_map(scan.probe, scan.positions_px, scan.canvas)
    ledger = Ledger(0.0, 3.0, 5, len(scan), float(scan.photons.totals.sum()))
    noise = (0.02 * rng.normal(size=CANVAS)).astype(np.complex64)

    def made(arm: str, image: np.ndarray, train_seconds: float) -> Reconstruction:
        spent = replace(ledger, train_seconds=train_seconds)
        return Reconstruction(arm, image.astype(np.complex64), scan.probe, scan.positions_px, coverage, spent)

    flat = np.full(CANVAS, 0.8)
    return [made("Network <b>", scan.object + noise, 700.0), made("Dead", flat + noise, 5.0), made(FLAT_ARM, flat, 0.0)]


@pytest.fixture(scope="session")
def against_truth(scan: Scan, arms: list[Reconstruction]) -> Comparison:
    return compare(scan, arms)


@pytest.fixture(scope="session")
def against_counts(scan: Scan, arms: list[Reconstruction]) -> Comparison:
    thinned = np.random.default_rng(7).binomial(scan.photons.stored.astype(int), 0.25).astype(np.float32)
    held = replace(scan, photons=Frames(thinned))
    return compare(replace(scan, object_is_truth=False), arms, held, 0.25)


@pytest.fixture(scope="session")
def measured(scan: Scan, arms: list[Reconstruction]) -> Comparison:
    """With truth and held-out counts."""
    thinned = np.random.default_rng(7).binomial(scan.photons.stored.astype(int), 0.25).astype(np.float32)
    return compare(scan, arms, replace(scan, photons=Frames(thinned)), 0.25)


def write_case(folder: Path, found: Comparison) -> None:
    """What a report reads of a comparison; without the pictures, which take long to draw."""
    folder.mkdir(parents=True, exist_ok=True)
    write_metrics_csv(folder / "metrics.csv", found)
    write_metrics_json(folder / "metrics.json", found)
    write_frc_csv(folder / "frc_curves.csv", found)
    write_residual_rings(folder / "residual_rings.csv", found)
    write_residual_frames(folder / "residual_frames.csv", found)
    write_objects(folder / "reconstructions.npz", found)


@pytest.fixture(scope="session")
def written():
    """`write_case`, for tests that write comparisons of their own."""
    return write_case


@pytest.fixture(scope="session")
def one(against_truth: Comparison, tmp_path_factory) -> Path:
    """The folder of one comparison without held-out counts."""
    folder = tmp_path_factory.mktemp("one") / "comparison"
    write_case(folder, against_truth)
    return folder


@pytest.fixture(scope="session")
def study(measured: Comparison, tmp_path_factory) -> Path:
    """The root of a study of two doses, views, halves and repeats, with the records of one training."""
    root = tmp_path_factory.mktemp("study") / "toy"
    tables = [_repeat(root / name, repeat, measured) for repeat, name in enumerate((".", "repeat_1"))]
    network = root / "phase_e" / "dose_1000" / "dense"
    network.mkdir(parents=True)
    (network / "history.csv").write_text("epoch,train_loss,validation_loss\n1,2.0,3.0\n2,1.5,2.5\n")
    (network / "training.json").write_text(json.dumps({"flat_loss": 4.0, "best_epoch": 2}))
    (network / "wts.h5.zip").write_text("")
    record = root / "jobs" / "training" / "dose_1000" / "dense"
    record.mkdir(parents=True)
    outputs = {"phase_e/wts.h5.zip": {"sha256": "ab" * 32}}
    (record / "status.json").write_text(json.dumps({"state": "success", "seconds": 3.0, "outputs": outputs}))
    manifest = {"runs": [{"command_line": "python -m toy <all>"}], "versions": {"python": "3.11"}}
    (root / "phase_g" / "comparison_manifest.json").write_text(json.dumps(manifest))
    tasks = [
        {
            "name": path.relative_to(root).as_posix(),
            "module": "toy",
            "labels": _labels(path, repeat),
            "outputs": [str(path / "reconstructions.npz")],
        }
        for repeat, table in enumerate(tables)
        for path in sorted(table.parent.glob("*/*/*"))
    ]
    labels = {"phase": "training", "dose": 1e3, "view": "dense"}
    made = {"name": "training/dose_1000/dense", "module": "toy", "labels": labels, "outputs": [f"{network}/wts.h5.zip"]}
    plan = {"title": "toy study", "root": str(root), "working_directory": str(root), "tasks": [*tasks, made]}
    (root / "plan.json").write_text(json.dumps({**plan, "tables": list(map(str, tables))}))
    return root


def _repeat(home: Path, repeat: int, measured: Comparison) -> Path:
    """The comparisons of one repeat, and their table; errors and limits are made up, worse at the lower dose."""
    rng, rows = np.random.default_rng(repeat), []
    for dose, view, split in itertools.product((1e3, 1e4), ("dense", "sparse"), ("test", "train")):
        found = measured.labelled(dose=dose, view=view, split=split, seed=42 + 1000 * repeat)
        write_case(home / "phase_g" / f"dose_{dose:.0f}" / view / split, found)
        factor = 2 if dose == 1e3 else 1
        for place, row in enumerate(found.plain()):
            error = 0.1 * factor * (1 + rng.random() / 10) * (1 + place)
            rows.append({**row, "object_rmse": error, "limit_rmse": 0.08 * factor})
    write_rows(home / "phase_g" / "metrics.csv", rows)
    return (home / "phase_g" / "metrics.csv").resolve()


def _labels(folder: Path, repeat: int) -> dict:
    dose, view, split = folder.parts[-3:]
    return {
        "phase": "comparison",
        "dose": float(dose.removeprefix("dose_")),
        "view": view,
        "split": split,
        "repeat": repeat,
    }
