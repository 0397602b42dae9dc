"""Graph -> Graph: jvp, linearize, transpose, grad, vjp, jacobian, vmap, batch. `apply` runs a program's list."""
