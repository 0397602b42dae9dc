"""Clients of a service: channel, private services, failures, and the stack of those that the functions use."""
