"""Unrolled networks of several shapes, pretrained alike and scored alike: which are worth their cost?"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from benchmarks.network_parts.page import cost_cells, table, told
from benchmarks.processes import called
from benchmarks.quality_parts.arms import AnyData, HeldOut, Pretrained, Simulated, Unit, digest
from benchmarks.quality_parts.run import code_digest
from benchmarks.report import Provenance
from benchmarks.suite import Size
from foldlight.bundle import write_bundle
from foldlight.compare.paired import number, spread
from foldlight.core.errors import DataError
from foldlight.core.files import read_json, write_json, write_text
from foldlight.core.provenance import sha256_file
from foldlight.core.settings import Settings
from foldlight.networks.settings import NetworkSettings
from foldlight.train.pretraining import pretrain
from foldlight.train.settings import PretrainingSettings

__all__ = ["SHAPES", "SizesSettings", "front", "make_bundle", "run_sizes"]

SCHEMA = "foldlight-sizes-1"

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"size": "tiny"},
    "width 8, 5 steps": {"width": 8, "consistency_steps": 5},
    "width 16, 3 steps": {"width": 16, "consistency_steps": 3},
    "base": {"size": "base"},
    "large": {"size": "large"},
}
"""What is compared, by name: the package's sizes, and what lies between `tiny` and `base`."""

_TOY: dict[str, dict[str, Any]] = {
    "tiny": {"width": 4, "levels": 1, "consistency_steps": 1},
    "base": {"width": 4, "levels": 2, "consistency_steps": 1},
}
_STEPS: dict[Size, int] = {"toy": 2, "small": 300, "full": 1200}
_PHOTONS = (26.0, 300.0, 1e4)
_REPEATS = 7


class SizesSettings(Settings):
    """What to compare, and for how long each is pretrained."""

    size: Size = "small"
    """`small`: 300 steps each, under an hour on one core; `full`: 1,200; `toy` only shows that everything runs."""
    seeds: int = Field(default=3, ge=1)
    """Scored scans of each kind."""
    output: Path = Path("benchmarks/results")
    """Folder for the table, and bundles and results of each network."""


@dataclass(frozen=True)
class _Scored:
    """A column of the table: data sets, and the number that is read off each.

    Attributes:
        title: heads the column.
        data: one or more, alike.
        column: the number.
        higher: the greater, the better.
    """

    title: str
    data: tuple[AnyData, ...]
    column: str
    higher: bool = False


def run_sizes(settings: SizesSettings, say: Callable[..., None]) -> dict[str, Any]:
    """Pretrain and score what is not there yet; leave `sizes.json` and `sizes.md`.

    Args:
        settings: what to compare.
        say: receives lines for the user.

    Returns:
        What `sizes.json` holds.

    Raises:
        DataError: a pretraining or a measurement failed, or the output can't be written.
    """
    code, scored = code_digest(), _scored(settings)
    shapes = _TOY if settings.size == "toy" else SHAPES
    provenance = _provenance(settings)
    costs = _costs(shapes, settings, code)
    rows: dict[str, dict[str, Any]] = {}
    for name, shape in shapes.items():
        bundle, sha256 = _bundle(shape, settings, code)
        rows[name] = {"shape": shape, "sha256": sha256, "cost": costs[name], "numbers": {}}
        for each in scored:
            rows[name]["numbers"][each.title] = _measured(each, bundle, sha256, settings, code)
        say(f"{name}: {', '.join(f'{title} {told(spread(v))}' for title, v in rows[name]['numbers'].items())}")
        record = {"schema": SCHEMA, "provenance": asdict(provenance), "steps": _STEPS[settings.size], "networks": rows}
        write_json(settings.output / "sizes.json", record)
        write_text(settings.output / "sizes.md", _page(rows, scored, settings, provenance))
    say(*(f"{kind} -> {settings.output / 'sizes'}.{kind}" for kind in ("json", "md")))
    return record


def make_bundle(network: dict[str, Any], settings: dict[str, Any], folder: str) -> dict[str, Any]:
    """A stage: pretrain a network from scratch and write `wts.h5.zip`."""
    parsed = NetworkSettings.parse(network, "network")
    model = pretrain(parsed, PretrainingSettings.parse(settings, "pretraining"), Path(folder), progress=False)
    return {"sha256": write_bundle(Path(folder) / "wts.h5.zip", model)}


def front(rows: Mapping[str, Mapping[str, Any]], title: str, higher: bool) -> list[str]:
    """Names of networks that no other betters, in the median, at the same flop or fewer."""
    at = {
        name: (row["cost"]["flop"], _median(row["numbers"][title]) * (-1 if higher else 1))
        for name, row in rows.items()
    }
    return [
        name
        for name, (flop, error) in at.items()
        if not any(f <= flop and e <= error and (f, e) != (flop, error) for f, e in at.values())
    ]


def _scored(settings: SizesSettings) -> list[_Scored]:
    """Three doses of lines behind a zone plate, and probes and objects of every kind."""
    toy = settings.size == "toy"
    frames: dict[str, Any] = {"window": 32, "side": 4, "diameter_px": 13.0, "step_px": 5.0} if toy else {}
    few: dict[str, Any] = {"window": 32, "side": 3, "probes": 1} if toy else {}
    seeds = range(settings.seeds)
    doses = [
        _Scored(
            f"RMSE, n = {n:g}",
            tuple(Simulated(photons_per_pixel=n, seed=seed, **frames) for seed in seeds),
            "object_rmse",
        )
        for n in _PHOTONS
    ]
    every = tuple(HeldOut(seed=seed, **few) for seed in seeds)
    return [
        *doses,
        _Scored("FRC area, median", every, "frc_area_median", higher=True),
        _Scored("FRC area, worst", every, "frc_area_worst", higher=True),
    ]


def _bundle(shape: dict[str, Any], settings: SizesSettings, code: str) -> tuple[Path, str]:
    """The pretrained bundle and its digest, made now or before in this very way."""
    toy: dict[str, Any] = {"data": {"window": 32}, "canvas_px": 64, "frames": 8, "scans": 2}
    training = {"steps": _STEPS[settings.size], **(toy if settings.size == "toy" else {})}
    arguments = {"network": shape, "settings": training}
    folder = _folder(settings) / digest({**arguments, "code": code})
    bundle = folder / "wts.h5.zip"
    if not bundle.is_file():
        _call(f"{__name__}:make_bundle", {**arguments, "folder": str(folder.resolve())}, folder / "log.txt")
    return bundle, sha256_file(bundle)


def _measured(each: _Scored, bundle: Path, sha256: str, settings: SizesSettings, code: str) -> list[float]:
    """A number of each data set, measured now or before."""
    units = {unit.key(code): unit for data in each.data for unit in [Unit(data, Pretrained(weights=sha256))]}
    folder = _folder(settings) / "units"
    missing = {key: unit for key, unit in units.items() if not (folder / f"{key}.json").is_file()}
    if missing:
        parts = [{"data": unit.data.plain(), "arms": {key: unit.arm.plain()}} for key, unit in missing.items()]
        told = {"parts": parts, "folder": str(folder.resolve()), "code": code, "weights": str(bundle.resolve())}
        failed = _call("benchmarks.quality_parts.measure:measure_several", told, folder / "log.txt")["failed"]
        if failed:
            raise DataError(f"{each.title}: expected a number, got: {next(iter(failed.values()))}")
    found = (number(read_json(folder / f"{key}.json")["numbers"][each.column]) for key in units)
    return [value for value in found if value is not None]


def _costs(shapes: Mapping[str, dict[str, Any]], settings: SizesSettings, code: str) -> dict[str, Any]:
    networks = {name: NetworkSettings.parse(shape, name).plain() for name, shape in shapes.items()}
    arguments = {"networks": networks, "window": 64, "repeats": 1 if settings.size == "toy" else _REPEATS}
    path = _folder(settings) / f"costs-{digest({**arguments, 'code': code})}.json"
    if not path.is_file():
        write_json(path, _call("benchmarks.network_parts.costs:measure_costs", arguments, path.with_suffix(".log")))
    return dict(read_json(path))


def _call(function: str, arguments: dict[str, Any], log: Path) -> dict[str, Any]:
    returned, error = called(function, arguments, log)
    if error:
        raise DataError(f"{function.partition(':')[2]}: {error}")
    return returned


def _page(
    rows: Mapping[str, Mapping[str, Any]], scored: list[_Scored], settings: SizesSettings, provenance: Provenance
) -> str:
    fronts = {each.title: front(rows, each.title, each.higher) for each in scored}
    cells = [
        [
            name,
            *cost_cells(row["cost"]),
            *(
                told(spread(row["numbers"][each.title])) + (" *" if name in fronts[each.title] else "")
                for each in scored
            ),
        ]
        for name, row in rows.items()
    ]
    toy = (
        "**Size toy: this only shows that everything runs; its numbers mean nothing.** "
        if settings.size == "toy"
        else ""
    )
    words = (
        f"{toy}Each is pretrained for {_STEPS[settings.size]} steps on the same scans, and scored on scans that it has"
        f" never seen. Medians over {settings.seeds} seeds with [least, greatest]. *: no other is as good or better at"
        " the same flop or fewer. Costs are of frames each on a canvas of its own, at N = 64."
    )
    heads = ["network", "weights", "Mflop a frame", "transforms a frame", "core-ms a frame"]
    lines = [
        "# Sizes of the unrolled network",
        "",
        words,
        "",
        *table([*heads, *(each.title for each in scored)], cells),
    ]
    origin = f"{provenance.cpu}, {provenance.cores} cores; one thread; began {provenance.began}"
    return "\n".join([*lines, "", f"- `{provenance.command}`", f"- {origin}"]) + "\n"


def _provenance(settings: SizesSettings) -> Provenance:
    settled = {
        **settings.plain(),
        "output": settings.output.as_posix(),
        "only": [],
        "repeats": settings.seeds,
        "seed": 0,
    }
    command = shlex.join(["python", "-m", "benchmarks.sizes", "--size", settings.size, "--seeds", str(settings.seeds)])
    return replace(Provenance.now("sizes", settled), command=command)


def _median(values: list[float]) -> float:
    around = spread(values)
    return float("nan") if around is None else around.median


def _folder(settings: SizesSettings) -> Path:
    return settings.output / "sizes_made"
