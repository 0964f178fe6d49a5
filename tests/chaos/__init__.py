"""Everything fails, over and over, and nothing is lost or counted twice."""
