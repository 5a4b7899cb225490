"""Sandboxes as other frameworks want them; each module needs its extra, and loads it alone."""
