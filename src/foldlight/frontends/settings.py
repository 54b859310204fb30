"""What a batch folder of ptychodus asks for: its files, and three sections of its `settings.ini`.

`[FoldlightRead]` holds options of a reader, `[FoldlightReconstruct]` those of `foldlight reconstruct`, and
`[FoldlightTrain]` those of `foldlight train`, under the names of the flags without their dashes. Ptychodus skips
sections that it does not know; its own are not looked at here.
"""

import configparser
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from foldlight.core.errors import SettingsError
from foldlight.core.settings import Settings
from foldlight.io.options import ReadOptions
from foldlight.io.ptychodus import DIFFRACTION, PRODUCT
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.engines import ENGINES, EngineName, options_taken
from foldlight.reconstruct.settings import EngineOptions, LikelihoodOptions, RefineOptions
from foldlight.train.settings import TrainingSettings

__all__ = ["MODEL", "SETTINGS", "Action", "Batch", "batch_of"]

Action = Literal["reconstruct", "train"]

SETTINGS, MODEL = "settings.ini", "model.h5.zip"
_READ, _RECONSTRUCT, _TRAIN = "FoldlightRead", "FoldlightReconstruct", "FoldlightTrain"
_NOT_READ = {"companion", "unfinished"}  # of a folder whose files have fixed names
_FILES = ("probe_from", "start")  # named from the folder on


class Batch(Settings):
    """A piece of work: where, and all settings."""

    action: Action
    """What to do."""
    input: Path
    """Folder with `diffraction.h5`, `product.h5`, and perhaps `model.h5.zip`."""
    output: Path
    """Folder to write to."""
    reading: ReadOptions = ReadOptions()
    """How to read the scan."""
    engine: EngineName = "hybrid"
    """Which one reconstructs."""
    options: EngineOptions = EngineOptions()
    """Of the engine."""
    likelihood: LikelihoodOptions = LikelihoodOptions()
    """Of engines that maximise one."""
    refine: RefineOptions = RefineOptions()
    """Of `hybrid`."""
    adapt: int = 0
    """Steps that adapt a network to the scan first."""
    start: str | None = None
    """Where the engine, or the training, begins; see `foldlight reconstruct` and `foldlight train`."""
    training: TrainingSettings = TrainingSettings()
    """How to train."""
    network: NetworkSettings = NetworkSettings()
    """What to train."""
    resume: bool = False
    """Go on from the output folder's checkpoint."""
    threads: int | None = None
    """CPU threads; all cores when not given."""

    @property
    def device(self) -> str:
        """Where to compute."""
        return self.options.device if self.action == "reconstruct" else self.training.device

    @property
    def bundle(self) -> Path | None:
        """The input folder's network, if there is one."""
        path = self.input / MODEL
        return path if path.is_file() else None

    def plain(self) -> dict[str, Any]:
        """The settings that count for the action, as JSON-ready values."""
        idle = {"training", "network", "resume"}
        if self.action == "train":
            idle = {"engine", "options", "likelihood", "refine", "adapt"}
        return {name: value for name, value in super().plain().items() if name not in idle}


class _Reconstructing(Settings):
    """What `[FoldlightReconstruct]` has beside the options of engines."""

    engine: EngineName = "hybrid"
    adapt: int = Field(default=0, ge=0)
    start: str | None = None


class _Training(Settings):
    """What `[FoldlightTrain]` has beside settings of training and of the network."""

    start: str | None = None
    resume: bool = False
    threads: int | None = Field(default=None, ge=1)


def batch_of(
    action: Action, source: Path, output: Path, settings: Path | None = None, threads: int | None = None
) -> Batch:
    """What a folder asks for.

    Args:
        action: `reconstruct` or `train`.
        source: the input folder.
        output: the output folder, which need not be there.
        settings: further settings file, whose values those of the folder's `settings.ini` replace.
        threads: CPU threads in place of those of the settings.

    Raises:
        SettingsError: a folder or file is missing, or a setting is unknown, out of range, or not one of the engine.
    """
    missing = [path for path in (source / DIFFRACTION, source / PRODUCT) if not path.is_file()]
    if missing:
        raise SettingsError(f"{missing[0]}: expected a batch folder with {DIFFRACTION} and {PRODUCT}, found none there")
    if output.resolve() == source.resolve():
        raise SettingsError(f"{output}: expected another folder than the input's, whose {PRODUCT} would be overwritten")
    if settings is not None and not settings.is_file():
        raise SettingsError(f"{settings}: expected a settings file, found none")
    files = [path for path in (settings, source / SETTINGS) if path is not None and path.is_file()]
    sections = _sections(files, source)
    more = {} if threads is None else {"threads": threads}
    (reading,) = _shared_out(_READ, sections, (ReadOptions,), {})
    kinds = (_Reconstructing, EngineOptions, LikelihoodOptions, RefineOptions)
    image, options, likelihood, refine = _shared_out(_RECONSTRUCT, sections, kinds, more)
    _refuse_idle(image.engine, sections.get(_RECONSTRUCT, {}))
    model, training, network = _shared_out(_TRAIN, sections, (_Training, TrainingSettings, NetworkSettings), more)
    reconstructs = action == "reconstruct"
    return Batch(
        action=action,
        input=source,
        output=output,
        reading=reading,
        engine=image.engine,
        options=options,
        likelihood=likelihood,
        refine=refine,
        adapt=image.adapt,
        start=image.start if reconstructs else model.start,
        training=training,
        network=network,
        resume=model.resume,
        threads=options.threads if reconstructs else model.threads,
    )


def _sections(paths: Sequence[Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Values of our sections, of files in turn; a later one replaces an earlier one's."""
    parser = configparser.ConfigParser(interpolation=None, default_section="(none)")
    for path in paths:
        try:
            parser.read_string(path.read_text(encoding="utf-8"), source=path.name)
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            raise SettingsError(f"{path}: expected a settings file: {error}") from None
    ours = (_READ, _RECONSTRUCT, _TRAIN)
    found: dict[str, dict[str, Any]] = {}
    for name in parser.sections():
        if not name.casefold().startswith("foldlight"):
            continue
        if name not in ours:
            raise SettingsError(f"[{name}]: expected a section of {', '.join(ours)}; correct its name")
        stated = {key.replace("-", "_"): _value(text) for key, text in parser.items(name) if text.strip()}
        found[name] = {key: _from_folder(key, value, folder) for key, value in stated.items()}
    return found


def _value(text: str) -> Any:
    """A number, a list of numbers, or the words themselves."""
    for wording in (text, f"[{text}]"):
        try:
            return json.loads(wording)
        except ValueError:
            continue
    return text.strip()


def _from_folder(key: str, value: Any, folder: Path) -> Any:
    """The path of a file beside the settings; anything else as it is."""
    return str(folder / value) if key in _FILES and isinstance(value, str) and (folder / value).is_file() else value


def _shared_out(
    section: str,
    sections: Mapping[str, Mapping[str, Any]],
    kinds: tuple[type[Settings], ...],
    more: Mapping[str, Any],
) -> Any:
    """The values of a section as settings of each kind."""
    values = {**sections.get(section, {}), **more}
    known = {name for kind in kinds for name in kind.model_fields} - (_NOT_READ if section == _READ else set())
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, sorted(known), 1)
            meant = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(sorted(known))}"
            raise SettingsError(f"[{section}]: unknown key {key}{meant}")
    return tuple(
        kind.parse({key: value for key, value in values.items() if key in kind.model_fields}, f"[{section}]")
        for kind in kinds
    )


def _refuse_idle(engine: EngineName, values: Mapping[str, Any]) -> None:
    """Refuse options that the chosen engine would not look at."""
    taken = {*options_taken(engine), "engine", "threads"}
    if idle := sorted(values.keys() - taken):
        fitting = [name for name in ENGINES if set(idle) <= set(options_taken(name))]
        raise SettingsError(
            f"[{_RECONSTRUCT}]: engine {engine} does not take {', '.join(idle)}"
            f"{f'; {_either(fitting)} does' if fitting else ''}; leave out what it does not take"
        )


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
