"""What is wrong or odd with a scan, before anyone waits for a reconstruction: `diagnose(scan)`, see specs/doctor.md."""

from foldlight.doctor.findings import Diagnosis, Finding, refused
from foldlight.doctor.run import diagnose

__all__ = ["Diagnosis", "Finding", "diagnose", "refused"]
