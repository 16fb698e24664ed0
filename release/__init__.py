"""What a release is made with: the frozen plugin, its archive and krew's rules."""
