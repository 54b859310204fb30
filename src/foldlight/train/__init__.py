"""Training on the frames of a scan: self-supervised, or supervised by its true object."""
