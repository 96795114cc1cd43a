"""Edges: the outside world, both ways. Nothing here knows how the agents decide or how the engine runs."""
