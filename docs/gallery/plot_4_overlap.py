"""
Overlap: dense and sparse
=========================

Neighbouring frames share light on the object, and iteration lives on that. Here the same object is scanned with the
same dose *per object pixel*, densely and sparsely.
"""

# sphinx_gallery_thumbnail_number = 2

import foldlight as fl
from foldlight.inspection import describe

dense = fl.simulate(object_size=128, positions=121, dose=2.5e3, seed=3)
sparse = fl.simulate(object_size=128, positions=16, dose=2.5e3 * 121 / 16, seed=3)

# %%
# Overlap has two common definitions, and each depends on what is called the probe's diameter.

for scan in (dense, sparse):
    print(describe(scan)["overlap"])

# %%
# Dense
# -----

engines = ("network", "hybrid", "ml")
first = fl.compare([fl.reconstruct(dense, engine, progress=False) for engine in engines], limit="off")
first.show()

# %%
# Sparse
# ------
# With a quarter of the neighbours' light in common, the ambiguities of single frames return. The network has learned
# what objects look like and bridges some of them. (``reconstruct`` would warn of so little overlap; here it is meant.)

images = [fl.reconstruct(sparse, engine, doctor=False, progress=False) for engine in engines]
second = fl.compare(images, limit="off")
second.show()

# %%
# In numbers:

for row, other in zip(first.rows, second.rows, strict=True):
    print(f"{row.arm:<8} phase SSIM {row.phase_ssim:.2f} dense, {other.phase_ssim:.2f} sparse")
