"""What is measured, ready to be connected to: each system is a context manager that starts fresh processes."""
