"""Every way from a scan to an object, behind one protocol."""
