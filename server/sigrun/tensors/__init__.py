"""What every floor speaks of: element types, arrays, signatures."""
