"""Compare trained networks, and a reconstruction file, on one scan: `python scripts/compare_models.py --help`."""

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import tyro
from pydantic import ValidationError

from foldlight.core.errors import FoldlightError
from foldlight.core.settings import describe


def run(
    pinn_dir: Path,
    baseline_dir: Path,
    test_data: Path,
    output_dir: Path,
    supervised_dir: Path | None = None,
    tike_recon_path: Annotated[Path | None, tyro.conf.arg(metavar="NPZ")] = None,
    ms_ssim_sigma: float = 1.5,
    skip_registration: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    register_ptychi_only: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    limit: Literal["off", "known", "blind"] = "known",
    legacy: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    seed: int = 42,
    device: str = "cpu",
) -> None:
    """Compare trained networks, and a reconstruction file, on one scan.

    Args:
        pinn_dir: bundle of the network trained on groups of frames, or the folder with its wts.h5.zip.
        baseline_dir: bundle of the network trained on single frames, or its folder.
        test_data: scan to reconstruct.
        output_dir: folder for metrics, curves, objects, picture and page.
        supervised_dir: bundle of a network trained on a true object, or its folder.
        tike_recon_path: reconstruction of the same scan: ours, or an NPZ with a complex `reconstructed_object`.
        ms_ssim_sigma: standard deviation of the MS-SSIM window [px].
        skip_registration: remove the complex scale only, neither shift nor phase ramp.
        register_ptychi_only: remove shift and phase ramp from the reconstruction file's object alone.
        limit: dose limit to hold the arms against where there is a truth, with a known or with an unknown probe.
        legacy: add columns with the field's older definitions, to compare with published numbers.
        seed: of the held-out counts, a second exposure of a simulated scan.
        device: where the networks run, for instance cpu or cuda.
    """
    if register_ptychi_only and tike_recon_path is None:
        _bad_usage("register_ptychi_only: expected --tike_recon_path with what to register, got none")
    from foldlight.compare.table import CompareSettings
    from foldlight.io import read_scan
    from foldlight.report.publish import publish_comparison
    from foldlight.simulate.acquire import expose_again
    from foldlight.study.models import ITERATIVE_ARM, compare_models

    settings = CompareSettings(
        ms_ssim_sigma=ms_ssim_sigma,
        registration=not skip_registration,
        registered_arms=(ITERATIVE_ARM,) if register_ptychi_only else None,
        limit=limit,
        legacy=legacy,
    )
    scan = read_scan(test_data)
    heldout = None if scan.truth is None else expose_again(scan, seed)
    found = compare_models(
        scan,
        pinn_dir,
        baseline_dir,
        tike_recon_path,
        settings,
        heldout,
        device=device,
        progress=True,
        supervised=supervised_dir,
    )
    inputs = {"PtychoPINN": pinn_dir, "Baseline": baseline_dir, "PtyChi": tike_recon_path, "data": test_data}
    if supervised_dir is not None:
        inputs["Supervised"] = supervised_dir
    facts = {"inputs": inputs, "settings": settings.plain(), "seed of the held-out counts": seed}
    published = publish_comparison(output_dir, found.labelled(dose=scan.origin.get("dose")), facts, scan.notes)
    sys.stdout.write("".join(f"{line}\n" for line in (*scan.notes, *published)))


def main(argv: list[str] | None = None) -> None:
    """Run the comparison; a refusal is one line on standard error and exit code 1, bad usage is exit code 2."""
    try:
        tyro.cli(run, prog="compare_models.py", args=argv, use_underscores=True)
    except ValidationError as error:
        _bad_usage(describe(error))
    except FoldlightError as error:
        sys.exit(f"compare_models: {error}")


def _bad_usage(message: str) -> NoReturn:
    sys.stderr.write(f"compare_models: {message}\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
