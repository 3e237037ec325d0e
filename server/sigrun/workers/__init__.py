"""Several serving processes behind the same ports, led by one supervisor that serves nothing."""
