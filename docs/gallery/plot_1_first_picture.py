"""
First picture
=============

Five lines from a file to an image of amplitude and phase.

The scan here is simulated and written to a file first, so that there is one to read; with your own, begin at
``read_scan``.
"""

# sphinx_gallery_thumbnail_number = 1

import tempfile
from pathlib import Path

import foldlight as fl

file = Path(tempfile.mkdtemp()) / "scan.npz"
fl.write_data001(file, fl.simulate(object_size=160, positions=150, dose=1e4, seed=1))

# %%
# Read
# ----
# Every format is read by the same function, which brings it to photons, with the zero frequency in the middle and
# positions in pixels. In a notebook a scan shows what it holds; *what the reader found* is below its facts.

scan = fl.read_scan(file)
scan

# %%
# Reconstruct
# -----------
# The packaged network needs no training and takes a second. Its result is made of NumPy arrays: ``object``, ``probe``,
# ``positions_px``.

image = fl.reconstruct(scan, engine="network", progress=False)
image.show()

# %%
# Compare
# -------
# ``hybrid`` goes on from there by the likelihood of all photons. A simulated scan knows its object, so that both have
# errors; a measured one is scored on photons that were held out (``fl.thin``).

refined = fl.reconstruct(scan, engine="hybrid", progress=False)
fl.compare([image, refined])
