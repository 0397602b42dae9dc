"""Graph -> Graph passes: same values, and, for those that run before differentiation, same derivatives at every corner."""
