"""An artifact of one run of memory, stored and read back."""

from chrek_agent.store.chunking import CHUNK

HASH = "5941a4cb3c363457"


def capture(store, make_fields, content, generation="g-1"):
    """Of an owner of its own; returns its manifest's digest."""
    with store.begin(generation) as writer:
        run = writer.add_run("private", 1, 0)
        for offset in range(0, len(content), CHUNK):
            run.write(memoryview(content)[offset : offset + CHUNK])
        run.close()
        return writer.commit(make_fields(f"uid-{generation[2:]}"))[1]


def restore(store, digest):
    """Its content, every chunk read ahead and checked."""
    with store.open(HASH, "g-1", digest) as artifact:
        chunks = list(artifact.chunks(artifact.manifest.memory[0]))
        artifact.expect(chunks)
        return b"".join(bytes(artifact.fetch(chunk)) for chunk in chunks)
