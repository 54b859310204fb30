"""Pictures and pages of results. Reads them, computes nothing new."""
