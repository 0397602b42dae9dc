"""Graph -> Graph transforms: jvp, linearize, transpose, grad, vjp, jacobian, vmap, batch; `apply` runs a program's list."""
