"""What foldlight reaches, measured: speed as ratios against peers and limits of one run, quality against targets."""
