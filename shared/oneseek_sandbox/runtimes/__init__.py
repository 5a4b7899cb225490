"""What makes, finds and ends sandboxes: one port, several implementations."""
