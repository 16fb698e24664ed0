"""What the screens show, as pure functions from objects to text."""
