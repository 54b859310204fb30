"""Ground floor: errors, settings, seeds, provenance and files. Imports nothing else of foldlight."""
