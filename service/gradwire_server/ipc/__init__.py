"""What passes between the front and its children: frames, the messages in them, and shared memory for tensors."""
