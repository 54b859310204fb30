"""CXI and NXcxi_ptycho between foldlight and cdtools: each opens what the other writes, and means the same by it."""

from pathlib import Path

import numpy as np
import pytest
from lab_experiment import DISTANCE_M, WAVELENGTH_M, expected, lab_experiment
from phantom import phantom_scan

from foldlight.io import ReadOptions, read_scan, write_scan

pytest.importorskip("cdtools", reason="cdtools is not installed; `make interop` has it")
torch = pytest.importorskip("torch")

from cdtools.datasets import Ptycho2DDataset  # noqa: E402
from cdtools.models import SimplePtycho  # noqa: E402
from cdtools.tools.initializers import exit_wave_geometry  # noqa: E402
from cdtools.tools.interactions import translations_to_pixel  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Passing more than 2 positional arguments to np.maximum")  # its own

TURNS = [((0, -1, 0), (-1, 0, 0)), ((0, 1, 0), (1, 0, 0)), ((1, 0, 0), (0, -1, 0)), ((0.6, -0.8, 0), (-0.8, -0.6, 0))]


def places_px(dataset: Ptycho2DDataset) -> np.ndarray:
    """(n, 2) (row, column) [px] of the beam on the object, as cdtools works them out."""
    geometry = dataset.detector_geometry
    basis = exit_wave_geometry(
        torch.as_tensor(geometry["basis"], dtype=torch.float32),
        dataset.patterns.shape[1:],
        dataset.wavelength,
        geometry["distance"],
    )
    return translations_to_pixel(basis, dataset.translations.to(torch.float32)).numpy()


@pytest.mark.parametrize("form", ["cxi", "nexus"])
def test_cdtools_opens_what_we_write(tmp_path, form):
    scan = phantom_scan()
    write_scan(tmp_path / "scan.cxi", scan, form)
    dataset = Ptycho2DDataset.from_cxi(tmp_path / "scan.cxi")
    np.testing.assert_array_equal(dataset.patterns.numpy(), scan.photons[:])
    np.testing.assert_array_equal(dataset.mask.numpy(), scan.mask)
    facts = scan.geometry
    assert float(dataset.wavelength) == pytest.approx(facts.wavelength_m, rel=1e-6)
    assert float(dataset.detector_geometry["distance"]) == pytest.approx(facts.distance_m, rel=1e-6)
    basis = dataset.detector_geometry["basis"]
    height, width = facts.detector_pixel_m
    np.testing.assert_allclose(basis, [[0, -width], [-height, 0], [0, 0]])
    found = places_px(dataset)
    np.testing.assert_allclose(found - found[0], scan.positions_px - scan.positions_px[0], atol=1e-4)


def test_cdtools_reconstructs_what_we_write(tmp_path):
    scan = phantom_scan(16, 16, n=12)
    write_scan(tmp_path / "scan.cxi", scan, "cxi")
    dataset = Ptycho2DDataset.from_cxi(tmp_path / "scan.cxi")
    model = SimplePtycho.from_dataset(dataset)
    losses = list(model.Adam_optimize(8, dataset, lr=0.02, batch_size=4))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("turn", TURNS, ids=str)
@pytest.mark.parametrize("kind", ["float32", "int32", "uint8"])
def test_we_open_what_cdtools_writes(tmp_path, turn, kind):
    """Its translations are the beam's; its file says so by CXI's rule, whatever way the detector lies."""
    made = lab_experiment(*turn)
    frames = np.minimum(made.frames, 255).astype(kind) if kind == "uint8" else made.frames.astype(kind)
    mask = np.ones((12, 16), dtype=bool)
    mask[1, 3] = False
    dataset = Ptycho2DDataset(
        -made.translation_m,
        torch.as_tensor(frames),
        wavelength=WAVELENGTH_M,
        detector_geometry={"distance": DISTANCE_M, "basis": made.basis.T, "corner": None},
        mask=mask,
    )
    dataset.to_cxi(tmp_path / "scan.cxi")
    scan = read_scan(tmp_path / "scan.cxi")
    np.testing.assert_array_equal(scan.mask, mask)
    np.testing.assert_array_equal(scan.photons[:][:, mask], frames[:, mask])
    if kind != "uint8":
        difference = expected(made, scan.positions_px) - made.frames
        np.testing.assert_allclose(difference[:, mask], 0, atol=0.7)
    assert scan.geometry.wavelength_m == pytest.approx(WAVELENGTH_M, rel=1e-6)
    assert scan.geometry.distance_m == pytest.approx(DISTANCE_M, rel=1e-6)
    assert scan.geometry.detector_pixel_m == pytest.approx(made.pixel_m)
    theirs = places_px(Ptycho2DDataset.from_cxi(tmp_path / "scan.cxi"))
    np.testing.assert_allclose(theirs - theirs[0], scan.positions_px - scan.positions_px[0], atol=1e-4)


def test_there_and_back_again(tmp_path):
    first, second = tmp_path / "first.cxi", tmp_path / "second.cxi"
    scan = phantom_scan()
    write_scan(first, scan, "cxi")
    Ptycho2DDataset.from_cxi(first).to_cxi(second)
    back = read_scan(second, ReadOptions(probe_from=probe_file(tmp_path, scan.probe)))
    np.testing.assert_array_equal(back.photons[:], scan.photons[:])
    np.testing.assert_array_equal(back.mask, scan.mask)
    np.testing.assert_allclose(
        back.positions_px - back.positions_px[0], scan.positions_px - scan.positions_px[0], atol=1e-4
    )
    assert back.geometry.pixel_size_m == pytest.approx(scan.geometry.pixel_size_m, rel=1e-6)
    np.testing.assert_allclose(
        back.probe / np.linalg.norm(back.probe), scan.probe / np.linalg.norm(scan.probe), atol=1e-6
    )


def probe_file(folder: Path, probe: np.ndarray) -> Path:
    np.save(folder / "probe.npy", probe)
    return folder / "probe.npy"
