"""What must not break: drains, overloads, hostile clients, against a server as a process.

The short form runs with the other tests; `make reliability` runs the long one, and prints figures.
"""
