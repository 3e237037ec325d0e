"""Requests and their answers, a share of them, as files that can be replayed."""
