"""Self-supervised training on the frames of a scan."""
