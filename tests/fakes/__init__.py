"""Stand-ins that keep the contracts of the real parts, without TensorFlow and files."""
