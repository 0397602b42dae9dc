"""The closed table of ops: one record an op, by family."""
