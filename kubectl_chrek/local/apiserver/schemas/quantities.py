"""Quantities as the API server stores them: `0.5` is `500m`, `1.5Gi` is `1536Mi`."""

from decimal import ROUND_UP, Decimal
from typing import Final

from kubectl_chrek.local.quantity import parse

_DECIMAL: Final = {18: "E", 15: "P", 12: "T", 9: "G", 6: "M", 3: "k", 0: "", -3: "m"}
_BINARY: Final = {60: "Ei", 50: "Pi", 40: "Ti", 30: "Gi", 20: "Mi", 10: "Ki"}


def canonical(quantity: str | float) -> str:
    """The quantity in its shortest form without a fraction, in thousandths at the finest; one with an exponent stays as it is."""
    text = str(quantity)
    if any(letter in text[:-1] for letter in "eE"):
        return text
    amount = parse(text).quantize(Decimal("1e-3"), ROUND_UP)
    if text.endswith("i") and abs(amount) >= 1024 and amount == int(amount):
        power, suffix = next(((power, suffix) for power, suffix in _BINARY.items() if not amount % 2**power), (0, ""))
        return f"{int(amount) >> power}{suffix}"
    power, suffix = next((power, suffix) for power, suffix in _DECIMAL.items() if not amount % Decimal(10) ** power)
    return f"{int(amount / Decimal(10) ** power)}{suffix}" if amount else "0"
