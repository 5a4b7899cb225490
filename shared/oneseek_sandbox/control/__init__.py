"""What the verbs decide: who gets a sandbox, when it is given up, and what is answered."""
