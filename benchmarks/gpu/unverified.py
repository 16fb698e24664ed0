"""The agent's filler without its digests, to see what they cost: nothing else runs it."""

from chrek_agent.memory import filler


class _Right:
    """A digest that is always the one that was wanted."""

    def hex(self) -> "_Right":
        return self

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = object.__hash__


if __name__ == "__main__":
    filler.digest = lambda *_: _Right()  # type: ignore[assignment, return-value]
    filler.main()
