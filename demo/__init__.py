"""Demo data: recorded bluesky runs and the embedded MongoDB that serves them."""
