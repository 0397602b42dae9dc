"""What runs inside the child processes. Nothing here, and nothing that it imports, knows gRPC."""
