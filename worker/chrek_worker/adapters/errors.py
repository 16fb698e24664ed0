"""Why an adapter gives up."""


class AdapterError(Exception):
    """The server did not do what it was asked for; one line for the status and the log."""
