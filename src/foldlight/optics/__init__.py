"""Physics as pure functions on torch tensors; probes in numpy."""
