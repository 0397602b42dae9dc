"""The transformations, each with its public function and its step, and the functions that they return."""
