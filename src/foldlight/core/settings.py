"""Strict, frozen settings: unknown keys are refused, every default is written once, everything serialises."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from foldlight.core.errors import SettingsError

__all__ = ["Settings", "describe"]

SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """Base of all settings. Subclasses declare fields with ranges and a sentence of help each."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    @classmethod
    def parse(cls: type[SettingsT], values: dict[str, Any], origin: str = "settings") -> SettingsT:
        """Settings from plain values.

        Raises:
            SettingsError: the first bad field, its value and the rule, in one line that names `origin`.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(f"{origin}: {describe(error)}") from None

    @classmethod
    def read(cls: type[SettingsT], path: Path) -> SettingsT:
        """Settings from a TOML file, or from YAML when it is named `.yaml` or `.yml`.

        Raises:
            SettingsError: the file is missing, not what its name says, or holds a bad field.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"{path}: expected a settings file, got {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise SettingsError(f"{path}: expected UTF-8 text: {error}") from None
        return cls.parse(_parsed(text, path), origin=str(path))

    def plain(self) -> dict[str, Any]:
        """The settings as JSON-ready values."""
        return self.model_dump(mode="json")


def _parsed(text: str, path: Path) -> dict[str, Any]:
    """The values of a settings file; YAML dates and the like stay out, as JSON has none."""
    if path.suffix not in {".yaml", ".yml"}:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path}: expected TOML: {error}") from None
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: expected YAML: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    return values


def describe(error: ValidationError) -> str:
    """The first failure of a validation, as `field = value: rule`."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"])) or "settings"
    if first["type"] == "extra_forbidden":
        return f"unknown field {field!r} (value {first['input']!r}); remove it or correct its name"
    return f"{field} = {first['input']!r}: {first['msg']}"
