"""RPCs, bytes in and bytes out, and how gRPC-Web and Connect frame them."""
