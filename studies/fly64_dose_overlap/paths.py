"""Where every file of the study lies, below the root of its phase."""

from pathlib import Path

from studies.fly64_dose_overlap.design import SUPERVISED

__all__ = [
    "base_file",
    "bundle",
    "comparison_folder",
    "dose_folder",
    "doses_in",
    "model_folder",
    "patched",
    "ptychi_file",
    "reconstruction_folder",
    "repeat_root",
    "supervised_folder",
    "view_data",
    "view_folder",
    "view_metrics",
]


def repeat_root(root: Path, repeat: int) -> Path:
    """Folder with the phases of a repeat: the study's own for the first, `repeat_1` in it for the second."""
    return root / f"repeat_{repeat}" if repeat else root


def dose_folder(root: Path, dose: float) -> Path:
    """`dose_1000` for 1000 photons a frame."""
    return root / f"dose_{int(dose)}"


def doses_in(root: Path) -> tuple[float, ...]:
    """The doses that have a folder, rising."""
    names = (folder.name.removeprefix("dose_") for folder in root.glob("dose_*") if folder.is_dir())
    return tuple(sorted(float(name) for name in names if name.isdecimal()))


def base_file(phase_c: Path) -> Path:
    """The embedded base, as it was generated."""
    return phase_c / "base.npz"


def patched(phase_c: Path, dose: float, split: str) -> Path:
    """All simulated frames of a split."""
    return dose_folder(phase_c, dose) / f"patched_{split}.npz"


def view_folder(phase_d: Path, dose: float, view: str) -> Path:
    """What a view of one dose is made of."""
    return dose_folder(phase_d, dose) / view


def view_data(phase_d: Path, dose: float, view: str, split: str) -> Path:
    """The frames of a view."""
    return view_folder(phase_d, dose, view) / f"{view}_{split}.npz"


def view_metrics(phase_d: Path, dose: float, view: str, split: str) -> Path:
    """How much the frames of a view overlap."""
    return view_folder(phase_d, dose, view) / f"{split}_metrics.json"


def model_folder(phase_e: Path, dose: float, view: str, gridsize: int, own_gridsize: int) -> Path:
    """A network's folder: the view's own, or one marked `_gs<k>` when it was trained at another gridsize."""
    return dose_folder(phase_e, dose) / (view if gridsize == own_gridsize else f"{view}_gs{gridsize}")


def supervised_folder(phase_e: Path, dose: float, gridsize: int = 1) -> Path:
    """Folder of the network that was trained on the true object."""
    return dose_folder(phase_e, dose) / SUPERVISED / f"gs{gridsize}"


def bundle(model: Path) -> Path:
    """The trained network in its folder."""
    return model / "wts.h5.zip"


def reconstruction_folder(phase_f: Path, dose: float, view: str, split: str) -> Path:
    """What the iterative engine leaves."""
    return dose_folder(phase_f, dose) / view / split


def ptychi_file(phase_f: Path, dose: float, view: str, split: str) -> Path:
    """The iterative reconstruction."""
    return reconstruction_folder(phase_f, dose, view, split) / "ptychi_reconstruction.npz"


def comparison_folder(phase_g: Path, dose: float, view: str, split: str) -> Path:
    """What a comparison leaves."""
    return dose_folder(phase_g, dose) / view / split
