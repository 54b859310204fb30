"""A scan watched while it is measured: followed, reconstructed piece by piece, and shown on a page of this machine."""
