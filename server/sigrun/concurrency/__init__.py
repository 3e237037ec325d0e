"""Threads, and the question whether work may stay on the event loop."""
