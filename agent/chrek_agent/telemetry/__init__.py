"""What the agent tells of itself: times, metrics, logs, health."""
