"""To the service: clients, the channel, a private service, and the stack of clients of this process."""
