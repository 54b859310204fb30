"""Where a number came from: digests, versions, source revision."""

import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import numpy as np

__all__ = ["environment", "sha256_arrays", "sha256_file", "source_revision", "versions"]

_REPORTED = ("foldlight", "numpy", "torch", "ptychi", "h5py", "scikit-image")


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_arrays(*arrays: np.ndarray) -> str:
    """Hex digest of arrays: their types, shapes and values, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in _REPORTED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def source_revision() -> str | None:
    """Git revision of the running source with `+changes` when edited, or None outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{revision}+changes" if changed else revision


def environment() -> dict[str, str | None]:
    """Versions, platform and source revision, for a manifest."""
    return {**versions(), "platform": platform.platform(), "source_revision": source_revision()}


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
