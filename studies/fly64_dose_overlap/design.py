"""What the study varies and what it holds fixed: one validated object, built in or read from TOML or YAML."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from foldlight.core.errors import SettingsError
from foldlight.core.settings import Settings
from foldlight.networks.settings import NetworkSettings
from foldlight.reconstruct.settings import IterativeSettings, RefineSettings
from foldlight.simulate.settings import SimulationSettings
from foldlight.train.settings import TrainingSettings

__all__ = [
    "BASELINE",
    "CUSTOM",
    "SPLITS",
    "SUPERVISED",
    "MetricSettings",
    "Seeds",
    "StudyDesign",
    "TrainingPlan",
    "View",
    "get_study_design",
]

SPLITS = ("train", "test")
BASELINE = "baseline"
"""The view that passes the whole split through; its model is the arm `Baseline` of every comparison."""
CUSTOM = "custom"
"""The view that is described by flags instead of by the design."""
SUPERVISED = "supervised"
"""What a training is asked for by that shows the true object to a network, on the frames of the view `baseline`."""

_GIVEN_BY_DESIGN = ("gridsize", "neighbours", "groups", "epochs", "seed", "device", "supervision")
_SEEDS_APART = 1000  # between two repeats


class Seeds(Settings):
    """Root seeds; every draw has a name of its own below them."""

    simulation: int = Field(default=42, ge=0)
    """Photons, and the object and positions of an embedded base."""
    grouping: int = Field(default=123, ge=0)
    """Neighbour groups, and weights and sample order of the networks."""
    subsampling: int = Field(default=456, ge=0)
    """Which frames a view keeps."""


class View(Settings):
    """How a view thins a split, and how many frames its network groups."""

    gridsize: Literal[1, 2]
    """C = gridsize squared neighbouring frames must agree in training."""
    linear_overlap: float | None = Field(default=None, ge=0, lt=1)
    """Frames are kept at least (1 - overlap) probe diameters apart; none: all frames."""


class MetricSettings(Settings):
    """How results are scored."""

    ms_ssim_sigma: float = Field(default=1.0, gt=0, le=5)
    """Standard deviation of the MS-SSIM window [px]."""
    frc_threshold: float = Field(default=0.5, ge=0.5, le=0.5)
    """Ring correlation whose crossing is the resolution: 0.5, after which the column `frc_half_nyquist` is named."""
    limit: Literal["off", "known", "blind"] = "known"
    """What the dose limit takes as given: the probe, or nothing (`blind`); `off` leaves the limit out."""
    noise_draws: int = Field(default=2, ge=1)
    """Exposures that each network reconstructs, the one that is scored among them; two or more tell its bias."""


class EmbeddedBase(SimulationSettings):
    """The base that is simulated where no base file is given: an object and where it is lit."""

    object_size: int = Field(default=464, ge=32)
    """Side of the square object [px]."""
    probe_diameter_px: float = Field(default=32.0, gt=2)
    """Geometric diameter of the probe [px]."""
    trajectory: Literal["raster", "spiral", "random"] = "random"
    """Order of positions."""
    positions: int = Field(default=10304, ge=1)
    """Frames."""


class NetworkTraining(TrainingSettings):
    """What of a training the design's views, seeds and neighbours leave open."""

    validation: Literal["frames", "photons", "auto"] = "photons"
    """What early stopping looks at: photons of every frame, as a sparse view has no frames to spare."""
    patience: int = Field(default=40, ge=1)
    """Epochs without a better validation loss before training stops."""
    scored: Literal["held-back", "same"] = "same"
    """Photons that patches have to explain in training."""


class Engine(IterativeSettings):
    """The iterative engine; it is given the true probe, as the networks are."""

    epochs: int | None = Field(default=60, ge=1)
    """Passes over all frames."""
    fit_probe: bool = False
    """Refine the probe too."""
    threads: int | None = Field(default=1, ge=1)
    """CPU threads; on one, results repeat to the bit."""


class TrainingPlan(Settings):
    """How every network is trained."""

    pixels: float = Field(default=5e7, gt=0)
    """Detector pixels that a training sees, all epochs together, so that views of any size get the same work."""
    least_epochs: int = Field(default=6, ge=1)
    """Fewest epochs that this budget may mean."""
    most_epochs: int = Field(default=150, ge=1)
    """Most epochs that it may mean."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of a training that has to repeat to the bit."""
    settings: NetworkTraining = NetworkTraining()
    """The rest. Gridsize, neighbours, groups, epochs, seed and device are given by the design or by flags."""
    network: NetworkSettings = NetworkSettings(kind="lifted")
    """What is trained: frames apart, each to its patch, so that only training knows of neighbours."""

    @model_validator(mode="after")
    def _one_home(self) -> "TrainingPlan":
        default = NetworkTraining()
        twice = [
            name for name in _GIVEN_BY_DESIGN if getattr(self.settings, name, None) != getattr(default, name, None)
        ]
        if twice:
            raise ValueError(f"expected {', '.join(twice)} to be left to the design's views, seeds and neighbours")
        if self.least_epochs > self.most_epochs:
            raise ValueError(f"expected least_epochs <= most_epochs, got {self.least_epochs} > {self.most_epochs}")
        return self


Dose = Annotated[float, Field(ge=1)]


class StudyDesign(Settings):
    """The whole study. N and the probe are read off the data, never stated here."""

    doses: tuple[Dose, ...] = Field(default=(1e3, 1e4, 1e5), min_length=1)
    """Mean photons per frame."""
    seeds: Seeds = Seeds()
    """Root seeds."""
    repeats: int = Field(default=1, ge=1)
    """Times that the whole study is made, each with seeds of its own; spreads and verdicts need several."""
    neighbours: int = Field(default=7, ge=1)
    """K, the nearest frames that groups are drawn from."""
    views: dict[str, View] = Field(
        default={
            "baseline": View(gridsize=1),
            "dense": View(gridsize=2, linear_overlap=0.7),
            "sparse": View(gridsize=2, linear_overlap=0.2),
        }
    )
    """What a split is thinned to, by name."""
    guard_windows: float = Field(default=1.0, ge=0)
    """Width of the band between the train and the test half of the scan, in frame heights."""
    base: EmbeddedBase = EmbeddedBase()
    """The embedded base."""
    metrics: MetricSettings = MetricSettings()
    """How results are scored."""
    training: TrainingPlan = TrainingPlan()
    """How networks are trained."""
    reconstruction: Engine = Engine()
    """The iterative arm."""
    hybrid: bool = True
    """One arm more: the view's network, refined by likelihood."""
    refinement: RefineSettings = RefineSettings()
    """How it is refined; the device is given by flags."""
    supervised: bool = True
    """One arm more: the network of single frames, trained on the true object instead of on photons."""
    time_limit_s: float = Field(default=4 * 3600, gt=0)
    """After which a training or an iterative reconstruction is ended [s]."""

    @model_validator(mode="after")
    def _consistent(self) -> "StudyDesign":
        folders = [int(dose) for dose in self.doses]
        if len(set(folders)) < len(folders):
            raise ValueError(f"doses: expected doses that differ in their whole photons, got {self.doses}")
        if not self.views or {CUSTOM, SUPERVISED} & set(self.views):
            taken = f"none named {CUSTOM!r} or {SUPERVISED!r}"
            raise ValueError(f"views: expected one or more, {taken}, got {sorted(self.views)}")
        for name, view in self.views.items():
            check_neighbours(self.neighbours, view.gridsize, name)
        return self

    def repeated(self, number: int) -> "StudyDesign":
        """The design of a repeat: every seed 1000 further on for each repeat before it; repeat 0 is the design itself.

        Raises:
            SettingsError: the number is negative.
        """
        if number < 0:
            raise SettingsError(f"--repeat {number}: expected 0 or more")
        step = _SEEDS_APART * number
        seeds = Seeds(**{name: seed + step for name, seed in self.seeds.plain().items()})
        engine = self.reconstruction.model_copy(update={"seed": self.reconstruction.seed + step})
        refinement = self.refinement.model_copy(update={"seed": self.refinement.seed + step})
        return self.model_copy(update={"seeds": seeds, "reconstruction": engine, "refinement": refinement})

    def dose_list(self, wanted: tuple[float, ...] | None) -> tuple[float, ...]:
        """The doses asked for, or those of the design, rising."""
        return tuple(sorted(set(wanted or self.doses)))


def check_neighbours(neighbours: int, gridsize: int, view: str) -> None:
    """K neighbours are enough for groups of C = gridsize^2.

    Raises:
        SettingsError: they are not.
    """
    if neighbours < gridsize**2:
        raise SettingsError(f"neighbours: expected K >= C = {gridsize**2} for the view {view}, got K = {neighbours}")


def get_study_design(path: Path | None = None, repeat: int = 0) -> StudyDesign:
    """The built-in design, or that of a TOML or YAML file, with the seeds of a repeat.

    Raises:
        SettingsError: the file is missing, a field is unknown or out of its range, or the repeat is negative.
    """
    return (StudyDesign() if path is None else StudyDesign.read(path)).repeated(repeat)
