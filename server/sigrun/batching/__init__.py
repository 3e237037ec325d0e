"""Requests -> batches -> requests: runs of a signature, shared by those who wait for one."""
