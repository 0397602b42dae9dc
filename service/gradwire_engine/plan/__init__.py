"""How a graph will run, and what that takes: order, lives of buffers, memory, operations, snapshots of loops."""
