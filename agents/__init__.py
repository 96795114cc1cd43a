"""Decisions: what an event means. ``decide.py`` is pure; ``agent.py`` puts it on a stream."""
