"""Checks under repeated faults of every kind that no task is lost or counted twice."""
