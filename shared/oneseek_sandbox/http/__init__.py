"""The verbs over HTTP: requests read with suspicion, answers and errors in one shape."""
