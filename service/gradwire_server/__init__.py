"""The gRPC service: one front process that admits, queues and answers, and the worker processes that compute."""
