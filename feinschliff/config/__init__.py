"""What is asked: the parts of a run's configuration, and loading it. No torch."""
