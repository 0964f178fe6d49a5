"""The worker on its machine: runs training commands, ends their processes, and runs several workers as a fleet."""
