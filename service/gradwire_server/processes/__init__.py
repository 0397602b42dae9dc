"""The front's side of its child processes: they are started, watched, lent, given work, and ended at their limits."""
