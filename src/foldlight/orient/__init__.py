"""Which way is up: frames and positions are turned in all ways, and held-out photons choose; see `orient.run`."""
