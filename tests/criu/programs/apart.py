"""Two processes that keep so many MiB apart, and say after their start, and after each restore, what is in them."""

import hashlib
import os
import random
import sys
import threading

sys.path.append("/chrek/chrek_worker.pyz")
from chrek_worker import apart

MIB = 1 << 20
COUNT = int(sys.argv[1])
block = random.Random(1).randbytes(MIB)
weights = apart.buffer((COUNT + 4) * MIB)
for number in range(COUNT):
    weights[number * MIB : (number + 1) * MIB] = block[number:] + block[:number]
odd = apart.buffer(5000)
odd[:4] = b"odd!"
child = os.fork() == 0
if child:
    odd[:4] = b"kid!"
    weights[7 * MIB] ^= 1


def say(word):
    print(
        f"{'child' if child else 'parent'} {word} {hashlib.sha256(weights).hexdigest()} {bytes(odd).strip(bytes(1)).decode()}",
        flush=True,
    )


if not apart.install(before_capture=lambda: print("still", flush=True), on_restore=lambda: say("restored")):
    print("not a source", flush=True)
say("born")
threading.Event().wait()
