"""Leases: which sandbox belongs to which thread."""
