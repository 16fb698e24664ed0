"""Real programs captured and brought back; `benchmarks/programs.py` writes the table of all of them."""

import program_run
import pytest
from program_table import PROGRAMS


@pytest.mark.parametrize("program", [program for program in PROGRAMS if program.quick], ids=lambda program: program.name)
def test_a_program_answers_after_its_restore(yard, agent, no_io_uring, program):
    reason = program_run.missing(program)
    if reason:
        pytest.skip(reason)
    outcome = program_run.run(program, yard, agent, no_io_uring)
    assert outcome.answered, outcome.reason


def test_names_are_given_once():
    names = [program.name for program in PROGRAMS]
    assert len(names) == len(set(names))
