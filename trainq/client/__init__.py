"""What people and pipelines do with a stack: upload, submit, watch, fetch, and handle dead letters."""
