"""The rows of the speed benchmark: a module each, with a `measure` or several."""
