"""What comes back: plain data that verbs return and reports read. No torch."""
