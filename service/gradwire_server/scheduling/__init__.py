"""What waits for a worker, what runs next and together, and how long that is expected to take."""
