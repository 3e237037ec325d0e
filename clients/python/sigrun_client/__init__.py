"""A client for model servers that speak TensorFlow Serving's protocol, without TensorFlow.

So far the package carries only the half that is generated from the protocol's own files, in
`sigrun_client._gen`, which is private and may change; the client itself, with calls that take and
return numpy arrays, is still to be written, and there is nothing to import from here yet.
"""

__all__: list[str] = []
