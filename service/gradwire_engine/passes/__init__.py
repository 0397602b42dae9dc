"""Graph -> Graph passes: same values; those that run before differentiation also the same derivatives at corners."""
