"""Examples, from a public package to the answer; run as modules from the root of the repository."""
