"""The only codec between messages and the engine's objects: programs, tensors, requests, responses, statuses.

Whatever a peer sends passes here first, so every limit on decoding lives here. Nothing here imports grpc, the SDK or
the server; import the modules, this package itself holds no names.
"""
