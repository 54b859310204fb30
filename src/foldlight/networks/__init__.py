"""Frames to complex patches."""
