"""The client of a stack: upload datasets, submit and watch jobs, fetch results, handle dead letters."""
