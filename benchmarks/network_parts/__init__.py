"""What a network on single frames gains from its input, its body and its consistency steps, at equal training."""
