"""Which GPU here takes the place of which at the capture. Pure."""

from collections.abc import Sequence

from chrek_agent.errors import RestoreError
from kubectl_chrek.api.compatibility import Gpu


def device_map(captured: Sequence[Gpu], here: Sequence[Gpu]) -> dict[str, str]:
    """UUID at capture -> UUID here. A GPU that is still there keeps its place, the others follow in order, like on like.

    Empty when all are still there: then the driver needs no map. Otherwise every GPU is in it, as the driver wants it. What one
    side does not know of a GPU is taken for the same.

    Raises:
        RestoreError: There are not as many GPUs here, or not of the same kind; one line.
    """
    if {gpu.uuid for gpu in captured} <= {gpu.uuid for gpu in here}:
        return {}
    if len(captured) != len(here):
        raise RestoreError(f"captured on {_counted(captured)}, here there {'is' if len(here) == 1 else 'are'} {_counted(here)}")
    same = {gpu.uuid for gpu in captured} & {gpu.uuid for gpu in here}
    free = [gpu for gpu in here if gpu.uuid not in same]
    pairs = {}
    for gpu in captured:
        if gpu.uuid in same:
            pairs[gpu.uuid] = gpu.uuid
            continue
        taken = next((other for other in free if not _difference(gpu, other)), None)
        if taken is None:
            raise RestoreError(_difference(gpu, free[0]))
        free.remove(taken)
        pairs[gpu.uuid] = taken.uuid
    return pairs


def _difference(before: Gpu, now: Gpu) -> str:
    """Why one cannot take the place of the other, as one line; empty when it can."""
    if before.mig or now.mig:
        return "captured on a part of a GPU (MIG), or there is one here: the driver restores onto whole GPUs only"
    if before.model and now.model and before.model != now.model:
        return f"captured on GPU {before.model}, here it is {now.model}: the driver restores onto the same model only"
    if before.memory_bytes and now.memory_bytes and before.memory_bytes != now.memory_bytes:
        sizes = (f"{gpu.memory_bytes / 2**30:.0f} GiB" for gpu in (before, now))
        return "captured on a GPU of {}, here it has {}: the driver restores onto the same kind only".format(*sizes)
    return ""


def _counted(gpus: Sequence[Gpu]) -> str:
    return "1 GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
