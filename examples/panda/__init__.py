"""An image classifier: JPEG bytes in, the five likeliest of ImageNet's thousand classes out."""
