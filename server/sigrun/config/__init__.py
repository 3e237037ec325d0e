"""Settings: frozen, checked when they are made, one file per topic."""
