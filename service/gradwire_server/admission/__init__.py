"""What stands before the queue: is the request right, is there room for it, which prepared program does it mean."""
