"""The command line: every verb is a few lines over one library call.

Nothing heavy is imported before a verb needs it, so help and bad usage answer at once.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import tyro
from pydantic import ValidationError

from foldlight.cli.conformance import conformance
from foldlight.cli.doctor import doctor
from foldlight.cli.frontends import ptychodus
from foldlight.cli.images import compare, demo, export, reconstruct, report
from foldlight.cli.live import live, live_simulate
from foldlight.cli.networks import pretrain, train
from foldlight.cli.orient import orient
from foldlight.cli.scans import convert, inspect, limit, prepare, simulate, thin
from foldlight.cli.studies import study_job, study_run, study_status
from foldlight.core.errors import FoldlightError
from foldlight.core.settings import describe

__all__ = ["main"]


def study() -> NoReturn:
    """Run a study of many jobs with one command, or tell where it stands: `foldlight study --help`."""
    main(["study", "--help"])
    raise SystemExit


_VERBS: dict[str, Callable[..., Any]] = {
    "simulate": simulate,
    "inspect": inspect,
    "doctor": doctor,
    "orient": orient,
    "convert": convert,
    "thin": thin,
    "prepare": prepare,
    "train": train,
    "pretrain": pretrain,
    "reconstruct": reconstruct,
    "compare": compare,
    "limit": limit,
    "live": live,
    "live-simulate": live_simulate,
    "demo": demo,
    "report": report,
    "export": export,
    "ptychodus": ptychodus,
    "conformance": conformance,
    "study": study,
}
_STUDY_VERBS: dict[str, Callable[..., Any]] = {"run": study_run, "status": study_status, "job": study_job}


def main(words: list[str] | None = None) -> None:
    """Run one verb; a refusal is one line on standard error and exit code 1, bad usage is exit code 2."""
    given = sys.argv[1:] if words is None else words
    nested = given[:1] == ["study"]
    verbs, prog = (_STUDY_VERBS, "foldlight study") if nested else (_VERBS, "foldlight")
    try:
        tyro.extras.subcommand_cli_from_dict(verbs, prog=prog, args=given[nested:], config=(tyro.conf.OmitArgPrefixes,))
    except ValidationError as error:
        sys.stderr.write(f"foldlight: {describe(error)}\n")
        sys.exit(2)
    except FoldlightError as error:
        sys.exit(f"foldlight: {error}")
    except KeyboardInterrupt:
        sys.exit("foldlight: interrupted; nothing half-written was left")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
