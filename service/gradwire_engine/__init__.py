"""The AD engine: graphs, ops, transforms, passes, plans and executors. Pure: no I/O, threads, clocks or logging."""
