"""Which frames, which neighbours, which photons."""
