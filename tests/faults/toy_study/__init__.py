"""A study of four jobs, of which one meets with an accident: first -> victim -> after, and first -> other."""
