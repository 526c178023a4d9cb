"""Of the examples: what they do, without a proxy."""
