"""
Dose and the limit
==================

How good can an image be with so many photons, and how near does a method come?

The Fisher information of the photons bounds the error of every unbiased method: the *dose limit* (``fl.limit``). It
falls as one over the root of the dose. Whoever lies below it knows something beforehand, and pays with bias: a network
knows what objects look like; an iteration that is stopped early has not left its flat start.
"""

# sphinx_gallery_thumbnail_number = 1

import matplotlib.pyplot as plt

import foldlight as fl

doses = [1e2, 1e3, 1e4, 1e5]
scans = [fl.simulate(object_size=112, positions=64, dose=dose, seed=2) for dose in doses]

# %%
# Three ways to an image at each dose: one pass of the network, the same refined by the likelihood of all photons, and
# 40 steps of likelihood alone from a flat image. Errors are relative, root mean square over the well-lit area.

quietly = {"progress": False, "doctor": False}  # the doctor would warn of the lowest dose
rows = []
for scan in scans:
    images = [
        fl.reconstruct(scan, "network", **quietly),
        fl.reconstruct(scan, "hybrid", **quietly),
        fl.reconstruct(scan, "ml", epochs=40, fit_probe=False, precision="single", **quietly),
    ]
    rows.append(fl.compare(images).rows)

figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
photons = [arms[0].photons_per_pixel for arms in rows]
for place, arm in enumerate(["Network", "Hybrid", "ML"]):
    axis.loglog(photons, [arms[place].object_rmse for arms in rows], "o-", label=arm)
axis.loglog(photons, [arms[0].limit_rmse for arms in rows], "k:", label="dose limit (unbiased)")
axis.set(xlabel="photons per object pixel", ylabel="relative error of the object")
axis.legend(frameon=False)
figure

# %%
# The network needs few photons, but stops getting better where its own errors are all that is left; refined, it goes on
# with the photons. All three lie below the limit where photons are few: there the prior speaks, not the data.
#
# What the limit says of one scan: the correlation, ring by ring, that no unbiased method passes, and where in the image
# the least error is largest.

fl.limit(scans[1])
