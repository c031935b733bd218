"""Observers of long work on rows hear how far it is: embedding for a data check, scoring for a prediction."""

from __future__ import annotations

from pathlib import Path

from feinschliff.config.data import DataConfig
from feinschliff.engine.events import Announced, Event, Progressed
from feinschliff.lifecycle.data import check, model_hooks
from feinschliff.lifecycle.predict import predict
from feinschliff.lifecycle.train import train
from tests.data.test_load import rows, write
from tests.numerics.tiny_runs import made_config


class Listener:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        self.events.append(event)

    def progress(self) -> list[Progressed]:
        return [event for event in self.events if isinstance(event, Progressed)]


def test_a_data_check_counts_the_rows_it_embeds(tmp_path: Path, tiny_bert: Path) -> None:
    listener = Listener()
    config = DataConfig(train=(write(tmp_path / "rows.csv", rows(80)),))
    check(config, model_hooks(config, str(tiny_bert), [listener]))
    assert isinstance(listener.events[0], Announced)
    heard = listener.progress()
    assert {event.work for event in heard} == {"embedding"}
    assert heard[-1].done == heard[-1].total > 30


def test_a_prediction_counts_the_rows_it_scores(tmp_path: Path, tiny_bert: Path) -> None:
    source, listener = write(tmp_path / "rows.csv", rows(60)), Listener()
    config = made_config(tiny_bert, tmp_path / "run", epochs=1.0, data={"train": [source]})
    train(config, [])
    found = predict(tmp_path / "run", None, [source], observers=[listener])
    heard = listener.progress()
    assert {(event.work, event.total) for event in heard} == {("scoring", len(found))}
    assert [event.done for event in heard] == sorted(event.done for event in heard)
    assert heard[-1].done == len(found) == 60
