"""What the code says, as pages of the reference; `docs.generate` writes them."""
