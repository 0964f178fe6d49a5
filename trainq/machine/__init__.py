"""What a worker does with its machine: it runs commands, ends what they leave, and runs several workers."""
