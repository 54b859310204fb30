"""A scan followed to its end: counted, finished as offline, kept when the writer dies; the page refuses strangers."""

import http.client
import json
import threading
import time

import numpy as np
import pytest
from live_models import UNROLLED, model_of

from foldlight.bundle import write_bundle
from foldlight.cli import main
from foldlight.core.errors import DataError, SettingsError
from foldlight.io.npz import write_npz
from foldlight.live.board import Board, Status
from foldlight.live.run import LiveRun
from foldlight.live.server import serve
from foldlight.live.settings import LiveSettings, PlaySettings
from foldlight.live.simulator import play
from foldlight.reconstruct.neural import NeuralReconstructor
from foldlight.reconstruct.protocol import Reconstruction

SOON = LiveSettings(interval_s=0.0, timeout_s=60, page=False)
TINY = ["--object-size", "80", "--window", "32", "--positions", "30", "--probe-diameter-px", "14"]


@pytest.mark.parametrize("name", ["scan.h5", "pieces"])
def test_a_scan_is_followed_while_it_is_written(name, scan, model, tmp_path):
    path = tmp_path / name
    writer = threading.Thread(target=play, args=(path, scan, PlaySettings(rate=300, burst_s=0.02)))
    run = LiveRun(path, model, SOON)
    writer.start()
    made = run.run()
    writer.join()
    status = run.board.status
    assert (status.state, status.ended) == ("complete", True)
    assert status.received == status.reconstructed == status.in_order == len(scan)
    assert (status.waiting, status.dropped, status.deferred, status.notes) == (0, 0, 0, ())
    assert 0 < status.latency_median_s <= status.latency_p99_s < status.elapsed_s
    assert status.updates >= 1
    offline = NeuralReconstructor(model, progress=False).reconstruct(scan)
    assert np.array_equal(made.object, offline.object)  # the final pass is the offline reconstruction
    assert made.data_digest == scan.digest()
    assert np.array_equal(run.board._cut()[0], made.object)


def test_without_a_final_pass_the_live_image_is_kept(scan, model, tmp_path):
    play(tmp_path / "scan.h5", scan, PlaySettings(rate=1e5))
    run = LiveRun(tmp_path / "scan.h5", model, SOON.model_copy(update={"final_pass": False}))
    made = run.run()
    assert made.arm == "Network (live)"
    assert made.object.shape == scan.canvas
    made.save(tmp_path / "live.npz")
    assert Reconstruction.load(tmp_path / "live.npz").ledger.n_frames == len(scan)


def test_a_writer_that_dies_is_given_up_with_its_image(scan, model, tmp_path):
    play(tmp_path / "scan.h5", scan, PlaySettings(rate=1e5, complete=False))
    run = LiveRun(tmp_path / "scan.h5", model, SOON.model_copy(update={"timeout_s": 0.3}))
    made = run.run()
    status = run.board.status
    assert status.state == "given up"
    assert "the writer may have died" in status.message
    assert status.reconstructed == len(scan)
    assert made is not None


def test_nothing_to_follow_and_a_stop_end_cleanly(model, tmp_path):
    run = LiveRun(tmp_path / "none.h5", model, SOON.model_copy(update={"timeout_s": 0.1}))
    assert run.run() is None
    assert "expected a scan that grows, got none within 0.1 s" in run.board.status.message
    run = LiveRun(tmp_path / "none.h5", model, SOON)
    threading.Timer(0.1, run.stop).start()
    assert run.run() is None
    assert run.board.status.state == "stopped"


def test_stopping_in_the_middle_keeps_the_image(scan, model, tmp_path):
    play(tmp_path / "scan.h5", scan, PlaySettings(rate=1e5, complete=False))
    run = LiveRun(tmp_path / "scan.h5", model, SOON)

    def stop_when_seen():
        while run.board.status.reconstructed < len(scan):
            time.sleep(0.01)
        run.stop()

    threading.Thread(target=stop_when_seen).start()
    made = run.run()
    assert made.arm == "Network (live)"
    assert run.board.status.state == "stopped"


def test_a_failure_is_told_on_the_board_too(scan, tmp_path):
    play(tmp_path / "scan.h5", scan, PlaySettings(rate=1e5))
    run = LiveRun(tmp_path / "scan.h5", model_of(UNROLLED, 4), SOON)
    with pytest.raises(SettingsError, match="expected a network that takes regions"):
        run.run()
    assert run.board.status.state == "failed"
    assert "expected a network that takes regions" in run.board.status.message


def test_lost_and_dropped_frames_add_up(scan, model, tmp_path):
    places = scan.positions_px[:10].copy()
    places[2] = np.nan
    write_npz(tmp_path / "0.npz", {"frames": scan.photons[:10], "positions_px": places, "probe": scan.probe})
    (tmp_path / "complete").touch()
    run = LiveRun(tmp_path, model, SOON)
    run.run()
    status = run.board.status
    assert (status.received, status.reconstructed, status.waiting, status.dropped) == (10, 9, 0, 1)
    assert status.notes == ("1 frames dropped: their position is not a number of pixels",)


class TestPage:
    @pytest.fixture
    def board(self):
        return Board("a scan", 64)

    @pytest.fixture
    def ask(self, board):
        with serve(board) as address:
            port = int(address.rstrip("/").rpartition(":")[2])

            def ask(path, method="GET", host=f"127.0.0.1:{port}"):
                line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                line.request(method, path, headers={"Host": host})
                answer = line.getresponse()
                body = answer.read()
                line.close()
                return answer, body

            yield ask

    @pytest.mark.parametrize(
        ("path", "kind"),
        [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/state.json", "json")],
    )
    def test_answers_are_closed_to_the_outside(self, ask, path, kind):
        answer, body = ask(path)
        assert (answer.status, kind in answer.headers["Content-Type"]) == (200, True)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Python" not in answer.headers["Server"]
        assert b"http" not in body.replace(b"http-equiv", b"")

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1]:80"])
    def test_other_hosts_are_refused(self, ask, host):
        assert ask("/state.json", host=host)[0].status == 403

    def test_localhost_through_a_tunnel_is_welcome(self, ask):
        assert ask("/state.json", host="localhost:9999")[0].status == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
    def test_only_get_is_answered(self, ask, method):
        answer, _ = ask("/", method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")

    @pytest.mark.parametrize("path", ["/nothing", "/../run.py", "/templates/page.js", "//page.js/..", "/phase.png"])
    def test_what_is_not_there_is_not_found(self, ask, path):
        assert ask(path)[0].status == 404

    def test_news_is_told_at_once_and_pictures_once_a_version(self, ask, board):
        told = json.loads(ask("/state.json?after=x")[1])
        assert (told["state"], told["picture"], told["title"]) == ("waiting", None, "a scan")
        cuts = []

        def cut():
            cuts.append(1)
            return np.ones((4, 6), np.complex64), np.ones((4, 6), np.float32)

        threading.Timer(0.1, board.tell, (Status(state="measuring", received=7), cut, True)).start()
        told = json.loads(ask(f"/state.json?after={told['revision']}")[1])
        assert (told["received"], told["picture"]["version"]) == (7, 1)
        assert (told["picture"]["height"], told["picture"]["width"]) == (4, 6)
        for name in ("amplitude", "phase"):
            answer, body = ask(f"/{name}.png?v=1")
            assert answer.headers["Foldlight-Version"] == "1"
            assert body.startswith(b"\x89PNG")
        assert len(cuts) == 1
        board.tell(Status(state="complete"))
        assert json.loads(ask("/state.json")[1])["picture"]["version"] == 1

    def test_a_taken_port_is_refused(self, board):
        with (
            serve(board) as address,
            pytest.raises(SettingsError, match=r"port = \d+: expected a free port, got Address already in use"),
            serve(board, int(address.rstrip("/").rpartition(":")[2])),
        ):
            pass


class TestCommand:
    def test_a_simulated_scan_is_followed_and_written(self, tmp_path, capsys, model):
        write_bundle(tmp_path / "wts.h5.zip", model)
        main(["live-simulate", str(tmp_path / "scan.h5"), "--rate", "1000", *TINY])
        words = ["live", str(tmp_path / "scan.h5"), "--model", str(tmp_path), "--no-page", "--threads", "1"]
        main([*words, "--output", str(tmp_path / "live.npz")])
        told = capsys.readouterr().out
        assert "30 frames received, 30 in the image, 0 waiting, 0 dropped" in told
        assert Reconstruction.load(tmp_path / "live.npz").object.shape == (80, 80)
        words = ["reconstruct", str(tmp_path / "scan.h5"), "--engine", "network", "--model", str(tmp_path)]
        main([*words, "--threads", "1", "--output", str(tmp_path / "offline.npz")])
        made = [Reconstruction.load(tmp_path / f"{name}.npz").object for name in ("live", "offline")]
        assert np.array_equal(*made)

    def test_a_dead_writer_is_one_line_and_the_image_is_written(self, tmp_path, capsys, model):
        write_bundle(tmp_path / "wts.h5.zip", model)
        main(["live-simulate", str(tmp_path / "pieces"), "--rate", "1000", "--no-complete", *TINY])
        words = ["live", str(tmp_path / "pieces"), "--model", str(tmp_path), "--timeout-s", "0.3", "--no-stay"]
        with pytest.raises(SystemExit, match="the writer may have died"):
            main([*words, "--threads", "1", "--output", str(tmp_path / "live.npz")])
        assert "http://127.0.0.1:" in capsys.readouterr().out
        assert (tmp_path / "live.npz").is_file()

    def test_wrong_names_are_refused(self, tmp_path):
        with pytest.raises(SystemExit, match=r"expected a name that ends in \.npz"):
            main(["live", str(tmp_path), "--output", "live.png"])
        (tmp_path / "something").touch()
        with pytest.raises(SystemExit, match=r"expected an empty folder or a name ending in \.h5"):
            main(["live-simulate", str(tmp_path), *TINY])


def test_a_file_that_cannot_be_written_is_refused(scan, tmp_path):
    (tmp_path / "scan.h5").mkdir()
    with pytest.raises(DataError, match=r"scan\.h5: expected a writable place"):
        play(tmp_path / "scan.h5", scan, PlaySettings())
