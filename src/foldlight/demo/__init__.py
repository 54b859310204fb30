"""One command from a scan to a report."""
