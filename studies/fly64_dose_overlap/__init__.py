"""The fly64 dose/overlap study.

How do a grouped physics-informed network, an ungrouped one and an iterative engine compare as photons per frame and
probe overlap fall? Phases, in order: generation (C), overlap (D), training (E), reconstruction (F), comparison (G).
"""
