"""A trained network in one file, `wts.h5.zip`: reproducible bytes out, nothing trusted in.

Members, sorted and with fixed time stamps: `MANIFEST.json` (digest of each member, schema, versions, training facts),
`config.json` (all that rebuilds the network and its input), `wts.h5` (one data set a weight). Source:
specs/bundle.md.
"""

import io
import json
import zipfile
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from foldlight.core.errors import BundleError, SettingsError
from foldlight.core.files import replacing
from foldlight.core.provenance import sha256_arrays, sha256_file, versions
from foldlight.core.shown import Displayed
from foldlight.networks.generators import PatchNetwork, build
from foldlight.networks.settings import SMALL_GROUP, NetworkSettings
from foldlight.networks.unrolled import UnrolledNetwork
from foldlight.optics.spectrum import ErrorSpectrum

__all__ = [
    "BUNDLE_NAME",
    "PRETRAINED",
    "SCHEMA",
    "Model",
    "pretrained",
    "read_bundle",
    "starting_model",
    "write_bundle",
]

SCHEMA = 1
BUNDLE_NAME = "wts.h5.zip"
PRETRAINED = Path(__file__).parent / "pretrained" / BUNDLE_NAME
_MEMBERS = ("MANIFEST.json", "config.json", "wts.h5")
_LIMIT_BYTES = 2**30  # a member that claims more is not one of ours
_UNITS = {"frames": "photon", "probe": "sqrt(photon)", "positions": "object px", "patches": "transmission"}


@dataclass(frozen=True, repr=False)
class Model(Displayed):
    """A network with its weights.

    Attributes:
        network: the settings that build it.
        window: (height, width) of the frames it was trained on [px].
        group_size: C, the frames that had to agree in training.
        weights: float32 arrays by name.
        training: JSON-ready facts (settings, data digest, epochs, losses); no clock times, so bytes repeat.
        errors: how wrong its objects are as a rule, measured on simulated scans; None where nobody measured it.
    """

    network: NetworkSettings
    window: tuple[int, int]
    group_size: int
    weights: dict[str, np.ndarray]
    training: dict[str, Any] = field(default_factory=dict)
    errors: ErrorSpectrum | None = None

    def __repr__(self) -> str:
        window = (
            "any frame size" if self.network.kind == "unrolled" else f"{self.window[0]} x {self.window[1]} px frames"
        )
        return f"<Model: {self.network.kind} network of {self.n_weights:,} weights, {window}, {self.digest()[:12]}>"

    @property
    def n_weights(self) -> int:
        """Numbers that were learned."""
        return sum(value.size for value in self.weights.values())

    @property
    def supervision(self) -> str:
        """What the network learned from: `photons`, or `object` where it was shown the truth."""
        return str(self.training.get("settings", {}).get("supervision", "photons"))

    @property
    def regional(self) -> bool:
        """Takes the whole scan as one region, whatever its size."""
        return self.network.kind == "unrolled" and self.group_size > SMALL_GROUP

    def fits(self, window: tuple[int, int]) -> bool:
        """Frames of this size can be reconstructed."""
        return self.network.kind == "unrolled" or window == self.window

    def digest(self) -> str:
        """Of the weights and what they are weights of."""
        names = sorted(self.weights)
        text = json.dumps([self.network.plain(), names], sort_keys=True)
        return sha256((text + sha256_arrays(*(self.weights[name] for name in names))).encode()).hexdigest()

    def module(self, device: str = "cpu") -> PatchNetwork | UnrolledNetwork:
        """The network, ready to evaluate.

        Raises:
            BundleError: weights and settings do not belong together.
        """
        module = build(self.network, self.window, seed=0)
        expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
        got = {name: value.shape for name, value in self.weights.items()}
        if got != expected:
            odd = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
            raise BundleError(f"weights: expected those of {self.network!r}, got other names or shapes: {odd[0]}")
        module.load_state_dict({name: torch.from_numpy(value) for name, value in self.weights.items()})
        return module.to(device).eval()


def pretrained() -> Model:
    """The network that comes with the package, for scans it has never seen; `foldlight pretrain` makes it.

    Raises:
        BundleError: the package was built without it, or it was changed.
    """
    return read_bundle(PRETRAINED)


def starting_model(start: str | None, network: NetworkSettings) -> Model | None:
    """The model whose weights a training begins with, or None for weights drawn from the seed.

    Args:
        start: `pretrained`, `scratch`, the path of a bundle or of the folder it lies in; None: the package's weights if
            they are of this network.
        network: what is trained.

    Raises:
        BundleError: the model can't be used.
    """
    if start == "scratch":
        return None
    if start in {None, "pretrained"}:
        model = pretrained()
        return model if start or model.network.plain() == network.plain() else None
    path = Path(start)
    return read_bundle(path / BUNDLE_NAME if path.is_dir() else path)


def write_bundle(path: Path, model: Model) -> str:
    """Write a bundle, read it back, compare one forward pass, and only then put it in its place.

    Returns:
        Hex sha256 of the file.

    Raises:
        BundleError: what was read back computes something else.
    """
    config = {
        "group_size": model.group_size,
        "network": model.network.plain(),
        "units": _UNITS,
        "window": list(model.window),
        **({} if model.errors is None else {"error_spectrum": model.errors.plain()}),
    }
    members = {"config.json": _json_bytes(config), "wts.h5": _weights_bytes(model)}
    digests = {name: sha256(data).hexdigest() for name, data in members.items()}
    manifest = {"members": digests, "schema": SCHEMA, "training": model.training, "versions": versions()}
    members["MANIFEST.json"] = _json_bytes(manifest)
    with replacing(path) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(members):
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.create_system, info.external_attr = 3, 0o644 << 16
                archive.writestr(info, members[name])
        _compare_forward(model, read_bundle(temporary))
    return sha256_file(path)


def read_bundle(path: Path) -> Model:
    """Read a bundle; every size and digest is checked before a value is used, and no code in it runs.

    Raises:
        BundleError: missing, truncated, foreign, of another schema, or changed since it was written.
    """
    members = _read_members(path)
    try:
        manifest = json.loads(members["MANIFEST.json"])
        config = json.loads(members["config.json"])
        if manifest["schema"] != SCHEMA:
            raise BundleError(f"{path}: expected bundle schema {SCHEMA}, got {manifest['schema']}; train it again")
        for name in ("config.json", "wts.h5"):
            if sha256(members[name]).hexdigest() != manifest["members"][name]:
                raise BundleError(
                    f"{path}: expected the digest in MANIFEST.json for {name}, got another; it was changed"
                )
        network = NetworkSettings.parse(config["network"], f"{path}: config.json")
        height, width = config["window"]
        weights = _read_weights(members["wts.h5"])
        errors = ErrorSpectrum.parse(config["error_spectrum"]) if "error_spectrum" in config else None
        size, group = (int(height), int(width)), int(config["group_size"])
        model = Model(network, size, group, weights, manifest["training"], errors)
        model.module()
    except (BundleError, SettingsError):
        raise
    except Exception as error:
        raise BundleError(f"{path}: expected a model bundle: {type(error).__name__}: {error}") from None
    return model


def _read_members(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            found = sorted(info.filename for info in archive.infolist())
            if found != sorted(_MEMBERS):
                raise BundleError(f"{path}: expected members {', '.join(_MEMBERS)}, got {', '.join(found) or 'none'}")
            for info in archive.infolist():
                if info.file_size > _LIMIT_BYTES:
                    raise BundleError(f"{path}: expected {info.filename} below 1 GiB, got {info.file_size} bytes")
            return {name: archive.read(name) for name in _MEMBERS}
    except FileNotFoundError:
        raise BundleError(f"{path}: expected a model bundle, found no file; run train first") from None
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise BundleError(f"{path}: expected a whole zip file: {error}") from None


def _weights_bytes(model: Model) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as store:
        for name in sorted(model.weights):
            store.create_dataset(name, data=model.weights[name], track_times=False)
        for name, value in sorted(model.network.plain().items()):
            store.attrs[name] = value
    return buffer.getvalue()


def _read_weights(data: bytes) -> dict[str, np.ndarray]:
    """The data sets of a file, refusing links and storage that point elsewhere."""
    weights = {}
    with h5py.File(io.BytesIO(data), "r") as store:
        for name in store:
            dataset = store[name] if isinstance(store.get(name, getlink=True), h5py.HardLink) else None
            if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
                raise BundleError(f"wts.h5: expected plain data sets, got {name!r}, which is a link or lies elsewhere")
            if dataset.dtype != np.float32 or dataset.nbytes > len(data):
                raise BundleError(f"wts.h5: expected float32 weights, got {name!r} of {dataset.dtype} {dataset.shape}")
            weights[name] = np.asarray(dataset[()])
    return weights


def _compare_forward(model: Model, reloaded: Model) -> None:
    height, width = model.window
    photons = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width) % 7
    probes = torch.polar(torch.ones_like(photons), photons)[:, :, None]
    places, mask = torch.tensor([[[height / 2, width / 2]]]).floor(), torch.ones(height, width, dtype=torch.bool)
    with torch.inference_mode():
        found = [one.module().objects(photons, places, probes, mask, model.window) for one in (model, reloaded)]
        same = torch.equal(*found)
    if not same:
        raise BundleError("bundle: expected the reloaded network to give the same object, got another; it was not kept")


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
