"""Requests of no form are refused, all at once; pieces become answers in order."""

from __future__ import annotations

import pytest

from feinschliff.config.generation import SamplingConfig
from feinschliff.errors import InputError
from feinschliff.generation.port import Generation, Piece, Request, collect, faults_of_form, num_samples, refuse


def test_faults_of_form() -> None:
    requests = [
        Request(prompt="fine"),
        Request(),
        Request(prompt="both", ids=[1]),
        Request(ids=[]),
        Request(messages=[]),
        Request(prompt="none", num_samples=0),
    ]
    faults = faults_of_form(requests)
    assert [fault.where for fault in faults] == [f"request {number}" for number in (2, 3, 4, 5, 6)]
    assert [faults[0].why, faults[1].why] == [f"{n} of ids, prompt and messages are given" for n in (0, 2)]
    assert all(fault.remedy for fault in faults)
    with pytest.raises(InputError) as caught:
        refuse(faults)
    assert caught.value.faults == tuple(faults)
    refuse([])


def test_samples_are_the_requests_or_else_those_of_the_sampling() -> None:
    assert num_samples(Request(prompt="a"), SamplingConfig(n=3)) == 3
    assert num_samples(Request(prompt="a", num_samples=1), SamplingConfig(n=3)) == 1


def test_answers_are_ordered_and_every_piece_is_heard() -> None:
    answers = [Generation(request, sample, "t", "stop") for request in range(2) for sample in range(2)]
    pieces = [Piece(answer.request, answer.sample, "t", generation=answer) for answer in reversed(answers)]
    pieces.insert(1, Piece(0, 0, "beginning"))
    heard: list[Piece] = []
    assert collect(pieces, heard.append) == answers
    assert heard == pieces
