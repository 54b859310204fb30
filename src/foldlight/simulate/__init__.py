"""Objects, trajectories and the acquisition that turns them into a scan."""
