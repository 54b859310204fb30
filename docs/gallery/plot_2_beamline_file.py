"""
A file from a beamline
======================

What is in a file, is it sound, and which way is up? Three calls, before anyone waits for an image.

The file is CXI, as several beamlines write it; here it is made first, from a simulated scan whose detector was mounted
a quarter turn round. Such a file has no probe: one that was reconstructed before is given beside it.
"""

# sphinx_gallery_thumbnail_number = 1

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import foldlight as fl

folder = Path(tempfile.mkdtemp())
scan = fl.simulate(object_size=128, positions=121, dose=2e4, seed=6)
lengths = fl.Geometry.far_field(
    scan.window, wavelength_m=1.24e-10, distance_m=2.0, detector_pixel_m=(150e-6, 150e-6)
)  # 10 keV
mounted = replace(scan, geometry=lengths, object=None, object_is_truth=False).turned("rotate_90")
fl.write_scan(folder / "run_0042.cxi", mounted, "cxi")
np.save(folder / "probe.npy", scan.probe)

# %%
# Read
# ----
# The reader knows the format by what is in the file, and tells what it took from it. What a file lacks or says wrongly
# is said by options, which ``foldlight.ReadOptions`` lists.

found = fl.read_scan(folder / "run_0042.cxi", probe_from=folder / "probe.npy")
found

# %%
# Is it sound?
# ------------
# The doctor looks at units, dose, overlap, detector, beam and positions. Each finding says what was found, how sure
# that is, and what to do.

fl.diagnose(found)

# %%
# Which way is up?
# ----------------
# A scan whose frames lie another way than its positions gives an image, but a bad one. ``orient`` tries all ways on a
# few dozen frames and lets photons choose that no fit has seen.

verdict = fl.orient(found, progress=False)
verdict

# %%
# Read it again, the right way round:

upright = fl.read_scan(
    folder / "run_0042.cxi", probe_from=folder / "probe.npy", orientation=verdict.reading.orientation
)
images = {
    "as it came": fl.reconstruct(found, "hybrid", progress=False),
    "turned": fl.reconstruct(upright, "hybrid", progress=False),
}
images["turned"].show()

# %%
# The deviance of the photons that were fitted tells the two apart:

{name: f"{fl.compare([image]).rows[0].deviance_fitted:.3f}" for name, image in images.items()}
