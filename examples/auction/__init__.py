"""A whole application: auctions, in real time. README.md beside this says what is where, and how to run it."""
