"""Real programs captured and brought back on this machine: `python benchmarks/programs.py` writes the table in docs/fidelity.md."""

import datetime
import json
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "criu"))

from light_agent import LightAgent
from light_container import Yard
from program_run import Outcome, missing, run, version
from program_table import PROGRAMS, Program

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "fidelity.md"
BEGIN, END = "<!-- table of benchmarks/programs.py -->\n", "<!-- end of table -->\n"
SECCOMP = ROOT / "charts" / "chrek" / "files" / "seccomp-no-io-uring.json"
HEAD = "| program | version | captured | restored | request answered | image | capture | restore | else: what the agent says |"


def row(program: Program, yard: Yard, state: Path) -> str:
    reason = missing(program)
    if reason:
        return f"| {program.name} | | | | | | | | not tried: {reason} |"
    agent = LightAgent.at(state / "agents" / re.sub(r"\W", "-", program.name))
    try:
        outcome = run(program, yard, agent, json.loads(SECCOMP.read_text()))
    except AssertionError as error:
        outcome = Outcome(reason=f"did not start: {error}")
    number = re.search(r"\d+(\.\w+)+", version(program))
    cells = [program.name, number[0] if number else ""]
    cells += ["yes" if done else "no" for done in (outcome.captured, outcome.restored, outcome.answered)]
    sizes = [f"{outcome.bytes / 2**20:.0f} MiB", f"{outcome.capture_seconds} s", f"{outcome.restore_seconds} s"]
    cells += sizes if outcome.captured else [""] * 3
    return f"| {' | '.join([*cells, outcome.reason.replace('|', '/').replace(chr(10), ' ')])} |"


def main() -> None:
    state = Path(tempfile.mkdtemp(prefix="chrek-programs-", dir="/var/tmp"))
    yard = Yard(state)
    try:
        rows = []
        for program in PROGRAMS:
            rows.append(row(program, yard, state))
            print(rows[-1], flush=True)
    finally:
        yard.close()
        shutil.rmtree(state, ignore_errors=True)
    machine = f"Run of {datetime.date.today()} on {platform.system()} {platform.release()}, {platform.machine()}."
    table = "\n".join([machine, "", HEAD, "|" + "---|" * HEAD.count(" |"), *rows, ""])
    text = PAGE.read_text()
    PAGE.write_text(text[: text.index(BEGIN) + len(BEGIN)] + table + text[text.index(END) :])


if __name__ == "__main__":
    main()
