"""The run-time checker of annotations: beartype, with `int` accepted where `float` is asked for, as PEP 484 says."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
