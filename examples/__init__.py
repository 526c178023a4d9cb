"""Nodes to look at, run and begin with: the first lines of each say how."""
