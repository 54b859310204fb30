"""From a measured scan to a base file: an object, a probe and positions from which new scans can be simulated."""
