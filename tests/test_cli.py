"""The command line, whole and at its edges; the whole way from a simulation to a report at tiny size."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from foldlight.cli import main
from foldlight.core.provenance import sha256_file
from foldlight.io import read_scan
from foldlight.optics.coverage import well_lit
from foldlight.reconstruct.protocol import Reconstruction

TINY = ["--object-size", "80", "--window", "32", "--positions", "120", "--probe-diameter-px", "14", "--dose", "1e5"]
QUICK = ["--epochs", "2", "--width", "4", "--levels", "2", "--consistency-steps", "1", "--guard-px", "4"]
SMALL_GROUPS = ["--batch-frames", "16"]


def foldlight(capsys, *words) -> str:
    """What a verb prints when it succeeds."""
    main([str(word) for word in words])
    return capsys.readouterr().out


def refusal(capsys, *words) -> str:
    """The one line that a verb prints when it refuses."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert isinstance(stop.value.code, str), "expected a message and exit code 1"
    assert "\n" not in stop.value.code
    assert "Traceback" not in capsys.readouterr().err
    return stop.value.code


def test_the_whole_way_at_tiny_size(tmp_path, capsys):
    """Simulate, train two epochs, bundle, reload, reconstruct with three arms, compare."""
    scan, model = tmp_path / "scan.npz", tmp_path / "model"
    foldlight(capsys, "simulate", "--output", scan, *TINY)
    told = foldlight(capsys, "inspect", scan, "--output", tmp_path / "scan.png")
    assert "121 of 32 x 32 px" in told
    assert "linear" in told
    assert (tmp_path / "scan.png").read_bytes().startswith(b"\x89PNG")

    told = foldlight(capsys, "train", scan, "--output", model, "--threads", 1, *QUICK, *SMALL_GROUPS)
    digest = told.split("sha256 ")[1].split()[0]
    again = foldlight(capsys, "train", scan, "--output", tmp_path / "again", "--threads", 1, *QUICK, *SMALL_GROUPS)
    assert digest in again

    arms = {"network": ["--model", model], "constant": [], "lsqml": ["--epochs", 20, "--no-fit-probe"]}
    files = {engine: tmp_path / f"{engine}.npz" for engine in arms}
    for engine, options in arms.items():
        foldlight(capsys, "reconstruct", scan, "--engine", engine, "--output", files[engine], "--threads", 1, *options)
    assert Reconstruction.load(files["network"]).ledger.train_seconds > 0
    assert files["lsqml"].with_suffix(".log").is_file()

    folder = tmp_path / "comparison"
    foldlight(capsys, "compare", scan, *files.values(), "--output", folder)
    rows = {row["arm"]: row for row in csv.DictReader(io.StringIO((folder / "metrics.csv").read_text()))}
    assert set(rows) == {"Network", "Constant", "LSQML"}
    assert float(rows["LSQML"]["phase_ssim"]) > 0.5 > float(rows["Constant"]["phase_ssim"])
    assert float(rows["Network"]["complex_correlation"]) > float(rows["Constant"]["complex_correlation"]) + 0.1
    assert rows["Network"]["deviance_heldout"] == ""
    assert 0 < float(rows["LSQML"]["eta"]) < 2
    assert not any(name.startswith("legacy_") for name in rows["LSQML"])
    for name in ("comparison.png", "report.html", "frc_curves.csv", "residual_rings.csv", "residual_frames.csv"):
        assert (folder / name).stat().st_size > 1000

    foldlight(capsys, "compare", scan, files["constant"], "--output", folder, "--limit", "off", "--legacy")
    row = next(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text())))
    assert row["eta"] == row["limit_rmse"] == ""
    assert float(row["legacy_phase_psnr"]) > float(row["phase_psnr"]) + 20


def test_a_base_is_prepared_from_a_scan_or_nothing_is_left(tmp_path, capsys):
    scan, base = tmp_path / "scan.npz", tmp_path / "made" / "base.npz"
    foldlight(capsys, "simulate", "--output", scan, *TINY)
    said = refusal(capsys, "prepare", scan, "--output", tmp_path / "made" / "base.png")
    assert "base.png: expected a name that ends in .npz" in said
    assert "none.npz" in refusal(capsys, "prepare", tmp_path / "none.npz", "--output", base)
    assert "expected a writable place" in refusal(capsys, "prepare", scan, "--output", scan / "base.npz")
    assert not base.parent.exists()

    told = foldlight(capsys, "prepare", scan, "--output", base, "--epochs", 22, "--fit-positions", "--threads", 1)
    for words in ("photons counted per frame", "as reconstructed", "as cleaned", "positions: refined", str(base)):
        assert words in told
    found = read_scan(base)
    assert found.object is not None
    assert found.truth is None
    assert not np.array_equal(found.positions_px, read_scan(scan).positions_px)
    assert np.array_equal(found.photons[:], read_scan(scan).photons[:])
    facts = found.origin["metadata"]
    assert facts["source"]["sha256"] == sha256_file(scan)
    assert facts["source"]["preparation"]["settings"]["fit_positions"]
    assert any("smooth continuation" in note for note in facts["transformations"])
    assert "numpy" in facts["environment"]
    assert base.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in base.parent.iterdir()) == ["base.log", "base.npz", "base.png"]


def test_the_network_needs_no_model_and_no_training(tmp_path, capsys):
    """The package brings one; here it sees a scan of a size that it was not trained on."""
    foldlight(capsys, "simulate", "--output", tmp_path / "scan.npz", *TINY)
    output = tmp_path / "network.npz"
    foldlight(capsys, "reconstruct", tmp_path / "scan.npz", "--engine", "network", "--output", output)
    made = Reconstruction.load(output)
    assert made.ledger.train_seconds == 0
    truth = read_scan(tmp_path / "scan.npz").truth
    lit = well_lit(made.coverage)
    flat = np.abs(truth[lit] - truth[lit].mean())
    turn = np.vdot(made.object[lit], truth[lit])
    assert np.sum(np.abs(made.object[lit] * turn / abs(turn) - truth[lit]) ** 2) < 0.5 * np.sum(flat**2)


def test_a_reconstruction_lends_its_probe(tmp_path, capsys):
    foldlight(capsys, "simulate", "--output", tmp_path / "scan.npz", *TINY)
    lender, borrower = tmp_path / "ml.npz", tmp_path / "hybrid.npz"
    scan = tmp_path / "scan.npz"
    foldlight(capsys, "reconstruct", scan, "--engine", "ml", "--epochs", 2, "--output", lender)
    words = ("--engine", "hybrid", "--refine", 1, "--probe-from", lender, "--output", borrower)
    said = foldlight(capsys, "reconstruct", scan, *words)
    assert "that of ml.npz, as the option probe_from says" in said
    np.testing.assert_array_equal(Reconstruction.load(borrower).probe, Reconstruction.load(lender).probe)


def test_refusals_are_one_line_and_leave_nothing(tmp_path, capsys):
    output = tmp_path / "out"
    said = refusal(capsys, "inspect", tmp_path / "none.npz", "--output", output / "x.png")
    assert "none.npz" in said
    np.savez(tmp_path / "odd.npz", nothing=np.zeros(3))
    said = refusal(capsys, "train", tmp_path / "odd.npz", "--output", output)
    assert "odd.npz" in said
    assert "nothing" in said
    said = refusal(capsys, "compare", tmp_path / "odd.npz", tmp_path / "no.npz", "--output", output)
    assert "odd.npz" in said
    foldlight(capsys, "simulate", "--output", tmp_path / "scan.npz", *TINY)
    said = refusal(capsys, "compare", tmp_path / "scan.npz", tmp_path / "scan.npz", "--output", output)
    assert "expected a foldlight reconstruction" in said
    said = refusal(capsys, "train", tmp_path / "scan.npz", "--output", output, "--threads", "0")
    assert "threads = 0: expected 1 or more" in said
    said = refusal(
        capsys, "reconstruct", tmp_path / "scan.npz", "--engine", "network", "--model", tmp_path / "scan.npz"
    )
    assert "expected members MANIFEST.json" in said
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["simulate", "--dosis", "3"], "dosis"),
        (["simulate", "--dose", "-3"], "greater than 0"),
        (["reconstruct", "scan.npz", "--engine", "magic"], "magic"),
        (["train"], "PATH"),
        ([], "simulate"),
    ],
)
def test_bad_usage_is_exit_code_two(words, told, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    streams = capsys.readouterr()
    assert told in streams.err + streams.out


def test_help_names_units_and_defaults(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["simulate", "--help"])
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "[px]" in told
    assert "(default: 10000.0)" in told
    assert "--seed" in told


def test_the_command_is_installed():
    done = subprocess.run([sys.executable, "-m", "foldlight", "--help"], capture_output=True, text=True, check=True)
    assert "reconstruct" in done.stdout


def test_two_commands_read_what_the_other_wrote(tmp_path, capsys):
    foldlight(capsys, "simulate", "--output", tmp_path / "a.npz", *TINY)
    foldlight(capsys, "simulate", "--output", tmp_path / "b.npz", *TINY)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert json.dumps(read_scan(tmp_path / "a.npz").origin)


def test_a_report_and_images_are_made_of_a_finished_run(tmp_path, capsys):
    scan, flat, run = tmp_path / "scan.npz", tmp_path / "flat.npz", tmp_path / "run"
    foldlight(capsys, "simulate", "--output", scan, *TINY)
    foldlight(capsys, "reconstruct", scan, "--engine", "constant", "--output", flat)
    foldlight(capsys, "compare", scan, flat, "--output", run, "--limit", "off")
    told = foldlight(capsys, "report", run, "--output", tmp_path / "page.html", "--pixel-nm", 10)
    assert f"report -> {tmp_path / 'page.html'}" in told
    assert '"nm":10.0' in (tmp_path / "page.html").read_text()
    assert "arms truth, Constant" in foldlight(capsys, "export", run, "--list")
    foldlight(capsys, "export", run, "--what", "error", "--arm", "Constant", "--output", tmp_path / "error.tif")
    assert (tmp_path / "error.tif").read_bytes()[:2] in {b"II", b"MM"}
    assert "expected the folder of a study (plan.json) or of a comparison" in refusal(capsys, "report", tmp_path)
    assert "expected the size of an object pixel" in refusal(capsys, "report", run, "--pixel-nm", -1)
    assert "expected one of truth, Constant" in refusal(capsys, "export", run, "--output", tmp_path / "phase.png")
    assert not (tmp_path / "phase.png").exists()
