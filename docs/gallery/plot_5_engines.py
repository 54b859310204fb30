"""
A network against iteration, on photons that neither has seen
=============================================================

A measured scan has no truth to compare with. Its photons can judge all the same: a tenth of them is dealt out, every
method reconstructs from the rest, and is scored by how well it predicts the tenth.
"""

# sphinx_gallery_thumbnail_number = 1

from dataclasses import replace

import foldlight as fl

scan = fl.simulate(object_kind="siemens-star", object_size=120, positions=81, dose=2e3, seed=4)
scan = replace(scan, object=None, object_is_truth=False)  # as if it were measured

# %%
# ``thin`` deals each photon to one of two exposures, which are independent of each other.

kept, unseen = fl.thin(scan, fraction=0.9, seed=0)

# %%
# LSQML is pty-chi's least-squares likelihood engine; it runs in a process of its own and refines the probe by default,
# which is off here, since this probe is right.

images = [
    fl.reconstruct(kept, "network", progress=False),
    fl.reconstruct(kept, "hybrid", progress=False),
    fl.reconstruct(kept, "lsqml", epochs=25, fit_probe=False, progress=False),
    fl.reconstruct(kept, "constant"),
]
comparison = fl.compare(images, heldout=unseen)
comparison.show()

# %%
# The held-out deviance is the number to look at: less is better, and it has no favourite. The rows of a comparison hold
# all numbers; ``comparison`` alone, at the end of a cell, shows them as a table.

{row.arm: round(row.deviance_heldout, 4) for row in comparison.rows}
