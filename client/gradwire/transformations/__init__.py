"""The transformations: by their public names, as steps, and as the functions that they return."""
