"""The batch folder of ptychodus: what comes in, what goes out and where it lies, settings, exit codes."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from phantom import phantom_scan

from foldlight.cli import main
from foldlight.core.errors import SettingsError
from foldlight.frontends.ptychodus import run_batch
from foldlight.frontends.settings import Batch, batch_of
from foldlight.io import ReadOptions, read_scan
from foldlight.io.ptychodus import write
from foldlight.io.ptychodus_product import Product, read_product, write_product
from foldlight.reconstruct.protocol import Reconstruction

SMALL = "[FoldlightTrain]\nsize = tiny\nepochs = 2\ngridsize = 3\nthreads = 1\nvalidation = photons\nstart = scratch\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rectangular frames behind one mode, pixels and a centre that are not symmetric, and indexes from 40 on."""
    write(tmp_path / "in", phantom_scan(24, 32, n=20, modes=1))
    path = tmp_path / "in" / "product.h5"
    product = read_product(path)
    moved = {
        "indexes": product.indexes + 40,
        "positions_m": product.positions_m + np.array([3e-6, -8e-6]),
        "centre_m": (product.centre_m[0] + 3e-6, product.centre_m[1] - 8e-6),
        "facts": {**product.facts, "name": "scan 12", "comments": "a leaf", "exposure_time_s": 0.5},
    }
    write_product(path, Product(**{**{name: getattr(product, name) for name in product.__dataclass_fields__}, **moved}))
    with h5py.File(tmp_path / "in" / "diffraction.h5", "r+") as file:
        file["indexes"][...] = moved["indexes"]
    return tmp_path / "in"


def told(folder: Path, text: str) -> None:
    (folder / "settings.ini").write_text("[Processing]\nAlgorithm = pty-chi_lsqml\n" + text, encoding="utf-8")


def done(folder: Path, action: str = "reconstruct", **more: Any) -> tuple[Path, list[str]]:
    lines: list[str] = []
    output = folder.parent / "out"
    run_batch(batch_of(action, folder, output, **more), lambda *words: lines.extend(words))  # type: ignore[arg-type]
    return output, lines


@pytest.mark.parametrize("engine", ["constant", "network", "ml"])
def test_the_product_that_comes_out_overlays_the_one_that_went_in(folder, engine):
    own = {"ml": "epochs = 40\nfit_probe = no\n"}.get(engine, "")
    told(folder, f"[FoldlightReconstruct]\nengine = {engine}\nthreads = 1\n{own}")
    output, lines = done(folder)
    before, after = read_product(folder / "product.h5"), read_product(output / "product.h5")
    assert after.object.shape == before.object.shape
    assert after.pixel_size_m == before.pixel_size_m
    np.testing.assert_allclose(after.centre_m, before.centre_m, rtol=0, atol=1e-15)
    np.testing.assert_allclose(after.positions_m, before.positions_m, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(after.indexes, np.arange(20) + 40)
    np.testing.assert_allclose(after.probe, before.probe, rtol=1e-6)
    arm = {"constant": "Constant", "network": "Network", "ml": "ML"}[engine]
    assert after.facts["name"].startswith("scan 12_foldlight_")
    assert after.facts["comments"].startswith(f"a leaf\nfoldlight 0.1.0: {arm}")
    assert after.facts["exposure_time_s"] == 0.5
    assert lines[-1].endswith(f"s -> {output / 'product.h5'}")
    np.testing.assert_array_equal(after.object[0], Reconstruction.load(output / "reconstruction.npz").object)
    record = json.loads((output / "foldlight.json").read_text())
    assert record["settings"]["engine"] == engine
    assert record["notes"] == list(read_scan(folder / "product.h5").notes)


def test_likelihood_finds_the_object_in_its_place(folder):
    """The true object of the phantom lies where the product says; a shift of a pixel would not correlate so well."""
    told(folder, "[FoldlightReconstruct]\nengine = ml\nfit_probe = no\nthreads = 1\n")
    output, _ = done(folder)
    truth, found = read_product(folder / "product.h5").object[0], read_product(output / "product.h5").object[0]
    middle = (slice(12, -12), slice(16, -16))

    def likeness(shift: tuple[int, int]) -> float:
        moved, true = np.roll(found, shift, (0, 1))[middle], truth[middle]
        return float(abs(np.vdot(moved, true)) / np.linalg.norm(moved) / np.linalg.norm(true))

    assert likeness((0, 0)) > 0.995
    assert all(likeness(shift) < likeness((0, 0)) for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)))


def test_a_trained_network_goes_into_the_next_folder(folder):
    told(folder, SMALL)
    output, lines = done(folder, "train")
    assert sorted(path.name for path in output.iterdir()) == [
        "checkpoint.pt",
        "foldlight.json",
        "history.csv",
        "model.h5.zip",
        "training.json",
    ]
    assert any(line == f"bundle -> {output / 'model.h5.zip'}" for line in lines)
    record = json.loads((output / "foldlight.json").read_text())
    assert (record["settings"]["network"]["width"], record["settings"]["training"]["epochs"]) == (8, 2)
    (output / "model.h5.zip").rename(folder / "model.h5.zip")
    told(folder, "[FoldlightReconstruct]\nengine = network\nthreads = 1\n")
    with_model, _ = done(folder)
    made = json.loads((with_model / "foldlight.json").read_text())
    assert made["model"] == str(folder / "model.h5.zip")
    own = read_product(with_model / "product.h5").object
    (folder / "model.h5.zip").unlink()
    done(folder)
    assert not np.array_equal(read_product(with_model / "product.h5").object, own)


def test_training_begins_with_the_model_of_the_folder(folder):
    told(folder, SMALL)
    output, _ = done(folder, "train")
    (output / "model.h5.zip").rename(folder / "model.h5.zip")
    told(folder, SMALL.replace("start = scratch\n", ""))
    again, _ = done(folder, "train")
    assert json.loads((again / "foldlight.json").read_text())["start"] == str(folder / "model.h5.zip")


def test_packed_patterns_are_unpacked_once(folder):
    with h5py.File(folder / "diffraction.h5", "r+") as file:
        counts = file["patterns"][()]
        sides = dict(file["patterns"].attrs)
        del file["patterns"]
        file.create_dataset("patterns", data=counts, compression="lzf").attrs.update(sides)
    (folder / "fluorescence.h5").touch()
    told(folder, "[FoldlightReconstruct]\nengine = constant\n")
    _, lines = done(folder)
    assert "fluorescence.h5: not enhanced here; open the new product in ptychodus to do so" in lines


def test_settings_are_those_of_the_flags(folder):
    told(
        folder,
        "[FoldlightRead]\ntranslation-sign = sample\ncentre_px = 12, 16\nprobe_from = probe.npy\ncrop_px =\n"
        "[FoldlightReconstruct]\nengine = ml\nfit_probe = Yes\ntime_limit_s = 1e3\nstart = start.npz\n"
        "[FoldlightTrain]\nlearning-rate = 1e-3\nloss = amplitude\nresume = true\n",
    )
    (folder / "probe.npy").touch()
    batch = batch_of("reconstruct", folder, folder.parent / "out", threads=3)
    assert (batch.reading.translation_sign, batch.reading.centre_px) == ("sample", (12.0, 16.0))
    assert batch.reading.probe_from == folder / "probe.npy"
    assert (batch.engine, batch.options.fit_probe, batch.options.time_limit_s) == ("ml", True, 1000.0)
    assert (batch.start, batch.threads, batch.options.threads) == ("start.npz", 3, 3)  # no such file in the folder
    training = batch_of("train", folder, folder.parent / "out")
    assert (training.training.learning_rate, training.training.loss, training.resume) == (1e-3, "amplitude", True)
    assert "engine" not in training.plain()
    assert "training" not in batch.plain()


def test_the_settings_in_the_document_are_understood(folder):
    page = (Path(__file__).parents[2] / "docs/ptychodus.md").read_text(encoding="utf-8")
    told(folder, page.split("```ini")[1].split("```")[0])
    batch = batch_of("reconstruct", folder, folder.parent / "out")
    assert (batch.engine, batch.refine.refine_probe, batch.threads, batch.training.epochs) == ("hybrid", True, 4, 30)
    assert batch.reading == ReadOptions()


def test_without_settings_the_hybrid_reconstructs(folder):
    for action in ("reconstruct", "train"):
        plain = Batch(action=action, input=folder, output=folder.parent / "out")
        assert batch_of(action, folder, folder.parent / "out") == plain
    assert plain.engine == "hybrid"


def test_the_folder_counts_more_than_further_settings(folder):
    told(folder, "[FoldlightReconstruct]\nengine = dm\n")
    further = folder.parent / "site.ini"
    further.write_text("[FoldlightReconstruct]\nengine = ml\nseed = 5\n[FoldlightRead]\nenergy_kev = 7\n")
    batch = batch_of("reconstruct", folder, folder.parent / "out", further)
    assert (batch.engine, batch.options.seed, batch.reading.energy_kev) == ("dm", 5, 7.0)


REFUSED = [
    ("[FoldlightReconstruct]\nenigne = ml\n", r"\[FoldlightReconstruct\]: unknown key enigne; did you mean engine\?"),
    ("[FoldlightTrain]\nqqq = 1\n", r"\[FoldlightTrain\]: unknown key qqq; it has batch_frames, .*width"),
    ("[FoldlightRead]\ncompanion = x.h5\n", r"\[FoldlightRead\]: unknown key companion"),
    ("[foldlight]\nengine = ml\n", r"\[foldlight\]: expected a section of FoldlightRead, FoldlightReconstruct, Foldl"),
    ("[FoldlightReconstruct]\nengine = magic\n", r"\[FoldlightReconstruct\]: engine = 'magic': Input should be"),
    ("[FoldlightReconstruct]\nadapt = -1\n", r"\[FoldlightReconstruct\]: adapt = -1: Input should be greater than or"),
    ("[FoldlightReconstruct]\nthreads = 0\n", r"\[FoldlightReconstruct\]: threads = 0: Input should be greater"),
    ("[FoldlightTrain]\nthreads = 0\n", r"\[FoldlightTrain\]: threads = 0: Input should be greater"),
    (
        "[FoldlightReconstruct]\nengine = network\nrpie_alpha = 0.1\n",
        r"engine network does not take rpie_alpha; lsqml, rpie or dm does; leave out",
    ),
    (
        "[FoldlightReconstruct]\nengine = lsqml\nrefine = 9\n",
        r"engine lsqml does not take refine; hybrid does; leave out what it does not take",
    ),
    (
        "[FoldlightReconstruct\n",
        r"settings\.ini: expected a settings file: Source contains parsing errors",
    ),
    ("[FoldlightTrain]\nseed = 1\nseed = 2\n", r"settings\.ini: expected a settings file: .*option 'seed'"),
]


@pytest.mark.parametrize(("text", "match"), REFUSED)
@pytest.mark.parametrize("action", ["reconstruct", "train"])
def test_settings_that_are_refused(folder, action, text, match):
    told(folder, text)
    with pytest.raises(SettingsError, match=match):
        batch_of(action, folder, folder.parent / "out")


def test_settings_that_are_no_text(folder):
    (folder / "settings.ini").write_bytes(b"\xff\xfe\x00[")
    with pytest.raises(SettingsError, match=r"settings\.ini: expected a settings file: 'utf-8' codec can't decode"):
        batch_of("train", folder, folder.parent / "out")


def code(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["ptychodus", *map(str, words)])
    return ended.value.code if isinstance(ended.value.code, int) else 1


def test_exit_codes_are_those_of_ptychodus(folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert code("-b", "reconstruct", "-i", tmp_path / "none", "-o", out) == 2
    assert "expected a batch folder with diffraction.h5 and product.h5, found none there" in capsys.readouterr().err
    assert code("-b", "reconstruct", "-i", folder, "-o", folder) == 2
    assert "expected another folder than the input's, whose product.h5 would be overwritten" in capsys.readouterr().err
    assert code("-b", "train", "-i", folder, "-o", out, "-s", tmp_path / "no.ini") == 2
    assert "no.ini: expected a settings file, found none" in capsys.readouterr().err
    assert code("-b", "dance", "-i", folder, "-o", out) == 2
    assert not out.exists()
    told(folder, "[FoldlightReconstruct]\nengine = constant\n")
    main(["ptychodus", "-i", str(folder), "-o", str(out), "--threads", "1"])
    assert (out / "product.h5").is_file()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("foldlight.frontends.ptychodus.run_batch", interrupted)
        assert code("-i", folder, "-o", out) == 130
    with h5py.File(folder / "product.h5", "r+") as file:
        del file["object"]
    assert code("-i", folder, "-o", out) == 1
