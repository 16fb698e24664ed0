"""What `verify` says when the time is up."""

import asyncio

import pytest

from kubectl_chrek.api.errors import NotReadyError
from kubectl_chrek.ops.verifying import wait_until_verified


class Silent:
    """A cluster in which nothing happens."""

    async def watch(self, resource, scope):
        await asyncio.Event().wait()
        yield


@pytest.mark.parametrize(("number", "said"), [(2, "cp-0, cp-1"), (5, "cp-0, cp-1, cp-2, cp-3, cp-4"), (9, "cp-3, cp-4 and 4 more")])
async def test_of_many_that_are_late_a_few_are_named(number, said):
    asked = {f"uid-{each}": f"cp-{each}" for each in range(number)}
    with pytest.raises(NotReadyError, match="not verified after") as caught:
        await wait_until_verified(Silent(), asked, "ns", nonce="1", seconds=0.001, on_change=lambda _: None)
    assert str(caught.value).endswith(said)
