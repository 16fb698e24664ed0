"""What the agent does for the cluster: one module for each kind of work, and what they share."""
