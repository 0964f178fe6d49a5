"""What the program and `trainq` cost and how fast they are, beside what people would use instead: `make bench`."""
