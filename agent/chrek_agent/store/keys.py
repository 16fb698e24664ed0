"""What a key is."""


def check_key(key: str) -> None:
    """Raises ValueError for what is no key."""
    if "\0" in key or any(not element or element.startswith(".") for element in key.split("/")):
        raise ValueError(f"{key!r} is no key")
