"""Errors are one line, settings are strict, seeds are named, files are whole or absent."""

import json
import subprocess
import sys

import numpy as np
import pytest
from pydantic import Field

from foldlight.core import errors
from foldlight.core.errors import DataError, FoldlightError, SettingsError
from foldlight.core.files import read_json, replacing, write_json, write_text
from foldlight.core.provenance import environment, sha256_arrays, sha256_file
from foldlight.core.seeds import generator, integer_seed
from foldlight.core.settings import Settings


class Sample(Settings):
    """Something to set."""

    size: int = Field(3, ge=1)
    name: str = "a"


def test_errors_are_one_line_and_one_tree():
    assert str(DataError("expected\n  this,\tgot that")) == "expected this, got that"
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), FoldlightError)


def test_settings_are_strict_frozen_and_explain_themselves():
    assert Sample.parse({"size": 5}).plain() == {"size": 5, "name": "a"}
    with pytest.raises(SettingsError, match="unknown field 'sise'"):
        Sample.parse({"sise": 5})
    with pytest.raises(SettingsError, match="here: size = 0: Input should be greater than or equal to 1"):
        Sample.parse({"size": 0}, "here")
    with pytest.raises(ValueError, match="frozen"):
        Sample().size = 4


def test_settings_come_from_toml(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("size = 7\n")
    assert Sample.read(path).size == 7
    path.write_text("size = = 7\n")
    with pytest.raises(SettingsError, match=r"a\.toml: expected TOML"):
        Sample.read(path)
    with pytest.raises(SettingsError, match=r"expected a settings file, got No such file"):
        Sample.read(tmp_path / "none.toml")


def test_generators_depend_on_their_names_alone():
    assert generator(1, "a", 2).random() == generator(1, "a", 2).random()
    draws = {generator(*key).random() for key in ((1, "a"), (1, "b"), (2, "a"), (1, "a", "b"), (1, "ab"))}
    assert len(draws) == 5
    assert 0 <= integer_seed(3, "x") < 2**63


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_half()
    assert path.read_text() == "old"
    assert [item.name for item in path.parent.iterdir()] == ["a.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/a\.json: expected a writable place"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"a\.json: expected a JSON file, got No such file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(DataError, match=r"b\.json: expected JSON"):
        read_json(tmp_path / "b.json")


def test_digests_see_values_types_and_shapes(tmp_path):
    ones = np.ones((2, 3), dtype=np.float32)
    others = (ones * 2, ones.reshape(3, 2), ones.astype(np.float64))
    assert len({sha256_arrays(ones), *(sha256_arrays(other) for other in others)}) == 4
    assert sha256_arrays(ones[:, ::-1]) == sha256_arrays(ones)
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_the_environment_is_json():
    facts = environment()
    assert {"python", "numpy", "torch", "platform"} <= facts.keys()
    json.dumps(facts)


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import foldlight", ("torch", "numpy", "pydantic", "matplotlib")),
        ("import foldlight.cli", ("torch", "matplotlib", "skimage", "h5py")),
        ("import foldlight.io", ("torch", "matplotlib", "h5py")),
    ],
)
def test_importing_stays_light(code, heavy):
    """The import budget, told by what is loaded: a clock would measure the machine."""
    show = f"import sys; {code}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_there():
    import foldlight

    for name in foldlight.__all__:
        assert getattr(foldlight, name) is not None
    assert set(foldlight.__all__) == set(foldlight._HOMES)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = foldlight.nothing
