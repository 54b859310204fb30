"""Studies: each a folder that turns flags into jobs and jobs into library calls."""
