"""Where torch computes, by the names that people use."""

import re

import torch

from foldlight.core.errors import SettingsError

__all__ = ["resolve_accelerator", "usable_device"]


def resolve_accelerator(name: str) -> str:
    """The torch device that a word for an accelerator means on this machine.

    Args:
        name: `auto` (a CUDA device where there is one, else the CPU), `cpu`, `gpu` or `cuda` (the current CUDA device),
            or `cuda:N`.

    Returns:
        `cpu`, `cuda` or `cuda:N`.

    Raises:
        SettingsError: another word, or no such device here; nothing is replaced silently.
    """
    if name == "cpu":
        return name
    if name != "auto" and not re.fullmatch(r"gpu|cuda(:(0|[1-9]\d*))?", name):
        raise SettingsError(f"accelerator = {name!r}: expected auto, cpu, gpu, cuda or cuda:N")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if found else "cpu"
    if not found:
        raise SettingsError(f"accelerator = {name!r}: expected a CUDA device, torch finds none here; use cpu or auto")
    if ":" in name and int(name.removeprefix("cuda:")) >= found:
        raise SettingsError(
            f"accelerator = {name!r}: expected cuda:0 to cuda:{found - 1}, the devices that torch finds"
        )
    return name.replace("gpu", "cuda")


def usable_device(name: str) -> torch.device:
    """The torch device of a name, once a tensor was made on it.

    Raises:
        SettingsError: no such device on this machine.
    """
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device = {name!r}: expected one that torch can use here: {error}") from None
