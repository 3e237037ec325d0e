"""A web page that asks the image classifiers of `examples/panda` what is in a photo."""
