"""The reference executor: numpy, node by node. It is the meaning of the ops."""
