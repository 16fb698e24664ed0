"""The screens: each composes widgets, gives them what views make of the session, and answers keys."""
