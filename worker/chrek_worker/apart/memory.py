"""The kinds of memory that can be kept apart: what each must be able to do."""

from __future__ import annotations

from typing import Protocol

from chrek_worker.apart.region import Region
from chrek_worker.apart.slot import Slot


class Lane(Protocol):
    """One thread's way between a memory and its slot."""

    slot: Slot

    def save(self, address: int, length: int) -> None:
        """Copies from the memory to the start of the slot; done when it returns."""

    def load(self, address: int, length: int) -> None:
        """Copies from the start of the slot to the memory; done after `wait`."""

    def clear(self, address: int, length: int) -> None:
        """Fills the memory with zeros; done after `wait`."""

    def wait(self) -> None:
        """Until the slot may be used again."""

    def close(self) -> None:
        """Waits, and gives the slot up."""


class Memory(Protocol):
    """One kind of memory in one place, such as a GPU. What fails raises OSError."""

    gpu: str
    """The UUID of the GPU whose memory it is; empty for host memory."""

    @property
    def is_borrowed(self) -> bool:
        """Some of it is memory that another process has made: the driver must not checkpoint this one before that is given up."""
        ...

    def regions(self) -> list[Region]:
        """All that there is at present."""
        ...

    def stretches(self) -> list[Region]:
        """The parts of regions whose content counts."""
        ...

    def settle(self) -> None:
        """Waits until nobody writes to it any more."""

    def vacate(self, region: Region) -> None:
        """Gives the memory up, but not its address."""

    def occupy(self, region: Region) -> None:
        """Takes memory at the address again; its content is unknown."""

    def adopt(self, region: Region, descriptor: int) -> bool:
        """Takes memory that the descriptor is of in place of it, with what is in it; False where that cannot be."""
        ...

    def lane(self, size: int, *, shared: bool = True) -> Lane:
        """A way for the calling thread, with a slot of so many bytes.

        Args:
            size: Of the slot.
            shared: Whether it must be a SharedSlot; another may be faster.
        """
        ...
