"""What is remembered: the run's directory and the index of runs. No torch."""
