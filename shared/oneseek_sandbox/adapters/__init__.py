"""The tools in agent frameworks' own terms. Each module needs the extra of its name, and no other."""
