"""gRPC, and nothing but gRPC: servicer, streams, what surrounds every call, status codes, health. No other room knows
it.
"""
