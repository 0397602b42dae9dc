"""Executors: they run a graph on arrays. `reference` is numpy, node by node: the meaning of the ops."""
