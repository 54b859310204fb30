"""Several processes train what one would; a dead or a lying one ends them all, with one line."""

import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import rank_jobs
import torch

from foldlight.core.errors import SettingsError
from foldlight.networks.generators import build
from foldlight.simulate.acquire import simulate
from foldlight.simulate.settings import SimulationSettings
from foldlight.train import fit as fit_module
from foldlight.train.distributed import ALONE, Ranks, joined
from foldlight.train.settings import TrainingSettings

SCRIPT = Path(rank_jobs.__file__)
SETTINGS = SimulationSettings(object_size=80, window=16, positions=150, probe_diameter_px=8.0, dose=1e4)


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """What two processes made of every training, and of one that a single process had begun."""
    folder = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        run_epoch = fit_module._Loop.run_epoch

        def killed_in_second_epoch(loop, advance):
            if loop.epoch == 1:
                raise KeyboardInterrupt
            return run_epoch(loop, advance)

        patch.setattr(fit_module._Loop, "run_epoch", killed_in_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            rank_jobs.train(folder / "begun", "groups", ALONE)
    ended = rank_jobs.on_two(SCRIPT, "trainings", folder)
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    return folder


def difference(weights: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> float:
    """Relative, of all weights together."""
    squares = [
        sum(float(np.square(part, dtype=np.float64).sum()) for part in parts)
        for parts in ([weights[name] - others[name] for name in weights], weights.values())
    ]
    return (squares[0] / squares[1]) ** 0.5


@pytest.mark.parametrize(("name", "made"), [*((name, name) for name in rank_jobs.TRAININGS), ("groups", "resumed")])
def test_two_processes_train_what_one_does(together, tmp_path, name, made):
    """Seen: weights differ by 6e-8, losses by 3e-7; each is rounding."""
    alone = rank_jobs.train(tmp_path, name, ALONE)
    found = dict(np.load(together / f"{made}.npz"))
    losses = [[row["train_loss"], row["validation_loss"]] for row in alone.history]
    np.testing.assert_allclose(found["losses"], losses, rtol=3e-6)
    assert float(found["flat_loss"]) == alone.flat_loss
    assert difference(alone.model.weights, found) < 1e-5


def test_two_processes_pretrain_what_one_does(together, tmp_path, monkeypatch):
    for name in ("_TESTED", "_KEPT_EVERY"):
        monkeypatch.setattr(rank_jobs.pretraining, name, getattr(rank_jobs.pretraining, name))
    alone = rank_jobs.pretrain(tmp_path, ALONE)
    assert difference(alone.weights, dict(np.load(together / "pretrained.npz"))) < 1e-4


def test_a_checkpoint_of_two_is_taken_up_by_one(together):
    """Nothing is left to train, so the result is theirs."""
    for name in ("groups", "regions"):
        resumed = rank_jobs.train(together, name, ALONE, resume=True)
        found = np.load(together / f"{name}.npz")
        assert all(np.array_equal(found[key], value) for key, value in resumed.model.weights.items())


@pytest.mark.parametrize("name", rank_jobs.TRAININGS)
@pytest.mark.parametrize("size", [2, 3, 9])
def test_the_gradient_of_a_step_is_the_weighted_mean_of_those_of_its_parts(monkeypatch, name, size):
    """Also of empty parts, which there are where processes are more than groups; 1e-6 is rounding."""
    network, options = rank_jobs.TRAININGS[name]
    settings = TrainingSettings(**{"guard_px": 8.0, **options})
    loop = fit_module._Loop.start(simulate(SETTINGS), network, settings, 0)
    rng = np.random.default_rng(0)
    for weight in loop.network.parameters():  # some layers start at zero
        weight.data += 0.05 * torch.from_numpy(rng.normal(size=weight.shape)).float()
    batch = next(loop.train.epoch(loop.groups_per_batch, rng))

    def gradient(loss):
        parts = torch.autograd.grad(loss, list(loop.network.parameters()), allow_unused=True)
        return torch.cat([part.ravel().double() for part in parts if part is not None])

    def misfit(part):
        return loop.loss(part) if part.truth is None else loop.supervised_loss(part, part.truth)

    whole, total, weights = gradient(misfit(batch)), 0.0, []
    monkeypatch.setattr(Ranks, "summed", lambda _, value: weights.append(value) or torch.ones_like(value))
    for rank in range(size):
        loop.ranks = Ranks(rank, size)
        part, weight = loop.shared(batch)
        total = total + float(weight) * gradient(misfit(part))
    assert float((total / sum(weights) - whole).norm() / whole.norm()) < 2e-6


def test_shares_and_turns_cover_everything_once():
    for size in (1, 2, 3, 5):
        for number in (0, 1, 4, 17):
            everyone = [Ranks(rank, size) for rank in range(size)]
            items = list(range(number))
            assert [item for ranks in everyone for item in items[ranks.share(number)]] == items
            assert sorted(item for ranks in everyone for item in items[ranks.turns]) == items
            assert all(ranks.takes(item) for ranks in everyone for item in items[ranks.turns])
            sizes = [len(items[ranks.share(number)]) for ranks in everyone]
            assert max(sizes) - min(sizes) <= 1


def test_every_process_computes_on_the_gpu_of_its_number():
    assert [Ranks(rank, 4, rank % 2, 2).device("cuda") for rank in range(4)] == ["cuda:0", "cuda:1"] * 2
    assert Ranks(1, 2, 1, 2).device("cpu") == "cpu"
    assert ALONE.device("cuda:3") == "cuda:3"
    with pytest.raises(SettingsError, match=r"device = 'cuda:1': expected cpu or cuda for 2 processes"):
        Ranks(0, 2, 0, 2).device("cuda:1")


def test_more_processes_than_groups_are_refused():
    """Before anything is sent, so that no other process is needed here."""
    loop = fit_module._Loop.start(simulate(SETTINGS), rank_jobs.UNROLLED, TrainingSettings(guard_px=8.0), 0)
    loop.ranks = Ranks(0, 2)
    with pytest.raises(
        SettingsError, match=r"a group of 49 frames or more .* 2 processes, got 1; set --batch-frames 98"
    ):
        loop.check_ranks()


def test_without_torchrun_a_process_is_alone(monkeypatch):
    with joined() as ranks:
        assert ranks == ALONE
    monkeypatch.setenv("WORLD_SIZE", "8")  # as some schedulers do
    with joined() as ranks:
        assert ranks.alone
        assert ranks.told(lambda: b"word") == b"word"
        assert ranks.in_turns([(1.0, 2.0)]) == [(1.0, 2.0)]


def test_half_of_an_environment_is_refused(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="got none for LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_PORT; start them with"):
        joined().__enter__()


def test_a_network_alone_is_called_as_it_is():
    network = build(rank_jobs.UNROLLED, (16, 16), 0)
    assert ALONE.learning(network) == network.objects


def test_a_killed_process_ends_the_others(tmp_path):
    ended = rank_jobs.on_two(SCRIPT, "dies", tmp_path, timeout_s=60)
    assert ended.returncode != 0
    deadline = time.monotonic() + 5
    while _left(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _left(tmp_path)


def _left(folder: Path) -> list[int]:
    """Processes that were told of this folder and still run."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if str(folder) in (p.info["cmdline"] or [])]


def test_processes_that_see_other_frames_are_refused(tmp_path):
    ended = rank_jobs.on_two(SCRIPT, "differ", tmp_path)
    assert ended.returncode != 0
    assert ended.stderr.count("training: expected 2 processes with the same data and settings, got 1 that differ") == 1
    assert not (tmp_path / "checkpoint.pt").exists()
