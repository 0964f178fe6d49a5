"""Submit training jobs to a model-training-queue stack, work on their tasks, fetch their results.

`trainq.worker.Worker` is the Python API for workers; the command line is `trainq --help`.
"""
