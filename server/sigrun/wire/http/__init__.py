"""What is true of every path over HTTP: ids, errors, gzip, CORS."""
