"""
A probe and positions that are wrong
====================================

The probe in a file is often a guess, and stages do not go where they are sent. Both can be refined with the object, by
the likelihood of all photons.
"""

# sphinx_gallery_thumbnail_number = 2

from dataclasses import replace

import numpy as np

import foldlight as fl
from foldlight.optics.probes import make_probe

scan = fl.simulate(object_size=128, positions=121, dose=2e4, seed=5)

# %%
# The same photons, as a file might bring them: the probe of a lens that is 5 % larger, positions that are off by
# 0.7 pixels each way.

generator = np.random.default_rng(0)
guess = make_probe("zone-plate", scan.window, 1.05 * 26.0, generator)
guess = (guess * np.sqrt(np.sum(np.abs(scan.probe) ** 2) / np.sum(np.abs(guess) ** 2))).astype(np.complex64)
wrong = scan.positions_px + generator.normal(0, 0.7, scan.positions_px.shape)
low = np.array(scan.window) // 2
file = replace(scan, probe=guess, positions_px=np.clip(wrong, low, np.array(scan.canvas) - low))
file

# %%
# As it is, and refined: ``refine_probe`` and ``fit_positions`` are options of the engine. The number of steps is fixed
# here and the network's usual errors are left aside (``prior``): they were measured with probes that are right.

how = {"refine": 100, "stop": "none", "prior": "none", "refine_probe": True, "fit_positions": True}
images = {
    "as it is": fl.reconstruct(file, "network", progress=False),
    "refined": fl.reconstruct(file, "hybrid", **how, progress=False),
}
comparison = fl.compare(images, limit="off")
comparison.show()

# %%
# How far the positions still are from the true ones, root mean square in pixels, but for a common shift:


def off(positions):
    difference = positions - scan.positions_px
    return float(np.sqrt(np.mean((difference - difference.mean(axis=0)) ** 2)))


{name: f"{off(image.positions_px):.2f} px" for name, image in images.items()}

# %%
# A refined probe serves every other engine too: ``fl.reconstruct(file, "network", probe=images["refined"])``.

fl.reconstruct(file, "network", probe=images["refined"], progress=False).show()
