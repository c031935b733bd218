"""A judge over a real endpoint on this machine, from command line to report: what it finds, what it may not break."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import feinschliff
from feinschliff import settings
from tests.acceptance.walk import Outcome, Refusal, assert_no_traceback, assert_refused, call
from tests.generation.stub_server import Asked, Reply, Stub, chat, serving
from tests.numerics.tiny_runs import examples

Capture = pytest.CaptureFixture[str]
ANSWERS = re.compile(r"<answer_a>\n(.*?)\n</answer_a>.*<answer_b>\n(.*?)\n</answer_b>", re.DOTALL)
KEY = "sk-very-secret"
ROWS = 10
SHORT = ("--task", "sft", "--task.max-new-tokens", "8", "--training.epochs", "1", "--training.precision", "fp32")


def prompt_of(asked: Asked) -> str:
    content: str = asked.body["messages"][-1]["content"]
    return content


def shorter_wins(_: int, asked: Asked) -> Reply:
    """Reads both answers, and prefers the shorter one wherever it stands."""
    found = ANSWERS.findall(prompt_of(asked))
    if not found:
        return chat("ready")
    first, second = map(len, found[0])
    return chat(f"One is shorter.\nVerdict: {'tie' if first == second else 'A' if first < second else 'B'}")


def always_a(_: int, asked: Asked) -> Reply:
    return chat("Verdict: A")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with conversations."""
    folder = tmp_path_factory.mktemp("judged")
    lines = [
        json.dumps({"messages": [message.as_given() for message in row.conversation.messages]})
        for row in examples(60, 1, "conversations")
        if row.conversation is not None
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "test.jsonl").write_text("\n".join(lines[:ROWS]), encoding="utf-8")
    return folder


@pytest.fixture
def desk(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("FEINSCHLIFF_CACHE", str(place / "cache"))
    monkeypatch.setenv("FEINSCHLIFF_OFFLINE", "1")
    monkeypatch.setenv(settings.JUDGE_KEY, KEY)
    monkeypatch.setattr("feinschliff.lifecycle.judge.PAUSE_SECONDS", 0.01)
    return place


@pytest.fixture
def run(desk: Path, tiny_decoder: Path, capsys: Capture) -> str:
    """A run that was trained once for all tests."""
    if not (desk / "run" / "model").exists():
        fast = ("--training.learning-rate", "0.02", "--output-dir", "run", *SHORT)
        trained = call(capsys, "train", "rows.jsonl", "--model", str(tiny_decoder), *fast)
        assert trained.code == 0, trained
    return "run"


def evaluated(run: str, server: Stub, capsys: Capture, *options: str) -> Outcome:
    judge = ("--judge-url", server.url, "--judge-model", "judge-1", "--written-rows", str(ROWS))
    return call(capsys, "evaluate", run, "test.jsonl", *judge, *options, "--json")


def test_base_and_tuned_are_compared_on_the_same_rows_in_both_orders(run: str, desk: Path, capsys: Capture) -> None:
    with serving(shorter_wins) as server:
        outcome = evaluated(run, server, capsys, "--judge-rubric", "The shorter one {prompt} wins.")
    assert outcome.code == 0, outcome
    found, judged = outcome.document, outcome.document["judged"]
    rows = [(row["written"], row["baseline"]) for row in found["written"]]
    assert len(rows) == ROWS == judged["rows"]
    wins, losses = (sum(sign * (len(a) - len(b)) < 0 for a, b in rows) for sign in (1, -1))
    assert wins + losses > 0, "the two models differ, or nothing is tested"
    pairs = judged["pairs"]
    assert (pairs["wins"], pairs["losses"], pairs["ties"]) == (wins, losses, ROWS - wins - losses)
    assert (judged["unjudged_rows"], pairs["changed_with_order"]) == (0, 0)
    measure = found["metrics"]["judge_preference"]
    assert measure["value"] == pytest.approx((wins + (ROWS - wins - losses) / 2) / ROWS)
    assert measure["low"] <= measure["value"] <= measure["high"]
    assert measure["low"] < measure["high"]
    assert found["metric"] == "loss", "a judge decides only where it is asked to"
    prompts = [prompt_of(asked) for asked in server.asked[1:]]
    assert len(prompts) == 2 * ROWS
    assert all("The shorter one {prompt} wins." in prompt for prompt in prompts)
    both = sorted(ANSWERS.findall(prompt)[0] for prompt in prompts)
    assert both == sorted(pair[::-1] for pair in both), "every pair is asked about in both orders"
    assert {asked.key for asked in server.asked} == {f"Bearer {KEY}"}
    report = Path(found["report"])
    for page in (report, report.with_suffix(".md")):
        text = page.read_text(encoding="utf-8")
        assert "What the judge says" in text
        assert "preferred by the judge" in text.lower()


def test_the_key_is_written_nowhere(run: str, desk: Path, capsys: Capture) -> None:
    def repeats_it(number: int, asked: Asked) -> Reply:
        return shorter_wins(number, asked) if number < 6 else Reply(500, {"error": {"message": f"no {asked.key}"}})

    with serving(repeats_it) as server:
        outcome = evaluated(run, server, capsys)
    assert outcome.code == 0, outcome
    assert "(the key)" in outcome.out
    assert KEY not in outcome.out + outcome.err
    files = [file for file in desk.rglob("*") if file.is_file()]
    assert len(files) > 10
    assert not [file for file in files if KEY.encode() in file.read_bytes()]


def test_rows_without_a_verdict_are_counted_and_shown(run: str, desk: Path, capsys: Capture) -> None:
    """One reply of twenty says nothing; that row is left out, and that is said."""
    silent: list[str] = []

    def mostly(number: int, asked: Asked) -> Reply:
        if number and not silent:
            silent.append(prompt_of(asked))
            return chat("I would rather not say.")
        return shorter_wins(number, asked)

    with serving(mostly) as server:
        outcome = evaluated(run, server, capsys)
    judged = outcome.document["judged"]
    assert (judged["rows"], judged["unjudged_rows"], judged["pairs"]["rows"]) == (ROWS, 1, ROWS - 1)
    assert any("1 of 10 rows not judged" in note for note in outcome.document["notes"])
    assert "1 not judged" in Path(outcome.document["report"]).read_text(encoding="utf-8")


def broken(status: int, headers: dict[str, str] | None = None) -> Callable[[int, Asked], Reply]:
    def answer(number: int, asked: Asked) -> Reply:
        return shorter_wins(number, asked) if number < 4 else Reply(status, {"error": "no"}, headers=headers or {})

    return answer


BREAKS: dict[str, tuple[Callable[[int, Asked], Reply], str]] = {
    "the key expires": (broken(401), "refuses the key"),
    "too many requests": (broken(429, {"retry-after": "0"}), "does not answer now"),
    "a fault of the server": (broken(503), "does not answer now"),
    "not what is spoken": (lambda n, asked: shorter_wins(n, asked) if n < 4 else Reply(body="<html>"), "another form"),
    "not in the letters it is spoken in": (
        lambda n, asked: shorter_wins(n, asked) if n < 4 else Reply(body=b'{"choices": "caf\xe9"}'),
        "another form",
    ),
    "packed, and broken": (
        lambda n, asked: (
            shorter_wins(n, asked) if n < 4 else Reply(body=b"broken", headers={"Content-Encoding": "gzip"})
        ),
        "another form",
    ),
    "thinks longer than it may": (
        lambda n, asked: chat("<think>\nVerdict: A", reason="length"),
        "20 of 20 replies of the judge hold no verdict that can be read, 20 of them because they were cut off",
    ),
    "no word of it is a verdict": (lambda n, asked: chat("I like both."), "hold no verdict"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_an_endpoint_that_breaks_costs_its_figure_and_nothing_else(
    name: str, run: str, desk: Path, capsys: Capture
) -> None:
    answer, said = BREAKS[name]
    with serving(answer) as server:
        outcome = evaluated(run, server, capsys)
    assert outcome.code == 0, outcome
    assert_no_traceback(outcome)
    found, judged = outcome.document, outcome.document["judged"]
    assert {"loss", "exact_match"} <= found["metrics"].keys()
    assert "judge_preference" not in found["metrics"]
    assert (judged["rows"], judged["unjudged_rows"], judged["pairs"]) == (ROWS, ROWS, None)
    assert said in judged["problem"]
    text = Path(found["report"]).read_text(encoding="utf-8")
    assert said in text
    assert "10 of 10 rows not judged" in text


REFUSED: dict[str, tuple[Callable[[int, Asked], Reply], Refusal]] = {
    "no key": (lambda n, asked: Reply(401, {"error": "no"}), Refusal("refuses the key", remedy=settings.JUDGE_KEY)),
    "no model": (
        lambda n, asked: Reply(404, {"error": "no"}),
        Refusal("does not know this address or model", remedy="/v1"),
    ),
    "no API": (lambda n, asked: Reply(body="<html>"), Refusal("answers in another form", remedy="/v1")),
    "busy": (lambda n, asked: Reply(429, {"error": "x"}, headers={"retry-after": "0"}), Refusal("does not answer now")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_endpoint_is_said_before_any_work(name: str, run: str, desk: Path, capsys: Capture) -> None:
    answer, refusal = REFUSED[name]
    with serving(answer) as server:
        assert_refused(evaluated(run, server, capsys), refusal)
        assert len(server.asked) <= 2, "nothing was asked but a word"


def test_fields_that_an_endpoint_refuses_are_left_out_and_that_is_said(run: str, desk: Path, capsys: Capture) -> None:
    def thinks(number: int, asked: Asked) -> Reply:
        for field in ("max_tokens", "temperature", "presence_penalty"):
            if field in asked.body:
                said = f"Unsupported parameter: '{field}' does not support {asked.body[field]}; max_completion_tokens?"
                return Reply(400, {"error": {"message": said}})
        return shorter_wins(number, asked)

    with serving(thinks) as server:
        outcome = evaluated(run, server, capsys)
    assert outcome.code == 0, outcome
    assert outcome.document["judged"]["rows"] == ROWS
    assert {"seed", "top_p", "max_completion_tokens"} <= server.asked[-1].body.keys()
    assert any("refuses temperature and presence_penalty" in note for note in outcome.document["notes"])


def thinks_for(tokens: int, number: int, asked: Asked) -> Reply:
    """A judge of whose replies some are so long."""
    if asked.body["max_tokens"] < tokens and number == 3:
        return chat("<think>\nOne is shorter. Verdict: A", reason="length")
    return shorter_wins(number, asked)


def test_how_long_a_judge_may_think_is_asked_for(run: str, desk: Path, capsys: Capture) -> None:
    with serving(partial(thinks_for, 9000)) as server:
        short = evaluated(run, server, capsys).document
        assert {asked.body["max_tokens"] for asked in server.asked} == {4096}, "the first word is asked for like all"
    pairs = short["judged"]["pairs"]
    assert (pairs["unparsable_replies"], pairs["cut_off_replies"], pairs["rows"]) == (1, 1, ROWS - 1)
    said = "1 of 20 replies of the judge were cut off (evaluation.judge_max_tokens allows it longer replies)"
    assert said in short["notes"]
    with serving(partial(thinks_for, 9000)) as server:
        long = evaluated(run, server, capsys, "--judge-max-tokens", "9000").document
        assert {asked.body["max_tokens"] for asked in server.asked} == {9000}
    assert (long["judged"]["pairs"]["cut_off_replies"], long["judged"]["pairs"]["rows"]) == (0, ROWS)
    assert not [note for note in long["notes"] if "cut off" in note]


def test_replies_longer_than_the_endpoint_can_hold_are_refused_before_any_work(
    run: str, desk: Path, capsys: Capture
) -> None:
    def small(number: int, asked: Asked) -> Reply:
        said = f"This model's maximum context length is 2048 tokens, and max_tokens is {asked.body['max_tokens']}"
        return Reply(400, {"error": {"message": said}})

    with serving(small) as server:
        outcome = evaluated(run, server, capsys)
        assert len(server.asked) == 1
    assert_refused(outcome, Refusal("refuses the request", why="2048", remedy="evaluation.judge_max_tokens"))


def test_a_key_that_cannot_be_sent(run: str, desk: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.JUDGE_KEY, "sk-\u043a\u043b\u044e\u0447")
    with serving(shorter_wins) as server:
        outcome = evaluated(run, server, capsys)
    assert_refused(outcome, Refusal("the judge: the endpoint's key cannot be sent", remedy=settings.JUDGE_KEY))


def test_an_endpoint_that_is_not_there(run: str, desk: Path, capsys: Capture) -> None:
    with serving(shorter_wins) as server:
        pass
    assert_refused(evaluated(run, server, capsys), Refusal("the endpoint cannot be reached", server.url))


def test_replies_that_take_too_long_are_not_waited_for(run: str, desk: Path) -> None:
    """Once it has said a word, it sleeps."""
    wakes = threading.Event()

    def sleeps(number: int, asked: Asked) -> Reply:
        if number:
            wakes.wait(30)
        return chat("ready")

    with serving(sleeps) as server:
        fields = {"judge_url": server.url, "judge_model": "m", "judge_timeout_seconds": 0.3, "written_rows": 4}
        found = feinschliff.evaluate(run, "test.jsonl", **fields)
        wakes.set()
    assert found.judged is not None
    assert (found.judged.rows, found.judged.unjudged_rows, found.judged.pairs) == (4, 4, None)
    assert "Timeout" in found.judged.problem
    assert found.metrics["loss"].value > 0


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        (("--judge-model", "m"), Refusal("there is no judge", "evaluation.judge_model", remedy="evaluation.judge_url")),
        (("--judge-url", "http://x/v1"), Refusal("it is not said which model judges", "evaluation.judge_url")),
        (
            ("--judge-url", "localhost:8000", "--judge-model", "m"),
            Refusal("'localhost:8000' does not hold", why="http://"),
        ),
        (
            ("--judge-url", f"http://me:{KEY}@x/v1", "--judge-model", "m"),
            Refusal("does not hold", "evaluation.judge_url", settings.JUDGE_KEY),
        ),
    ],
)
def test_half_a_judge_is_refused(
    options: tuple[str, ...], refusal: Refusal, run: str, desk: Path, capsys: Capture
) -> None:
    assert_refused(call(capsys, "evaluate", run, *options, "--json"), refusal)


def test_a_mere_model_folder_does_not_know_its_base(run: str, desk: Path, capsys: Capture) -> None:
    with serving(shorter_wins) as server:
        assert_refused(evaluated(f"{run}/model", server, capsys), Refusal("is a mere model folder", remedy="the run"))


def tuned(model: Path, server: Stub, capsys: Capture, name: str, *options: str) -> Outcome:
    judge = ("--evaluation.judge-url", server.url, "--evaluation.judge-model", "judge-1")
    asked = ("tune", "rows.jsonl", "--model", str(model), "--output-dir", name, *SHORT, *judge, *options, "--json")
    return call(capsys, *asked)


def test_tune_asks_the_judge_and_decides_without_it(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    with serving(shorter_wins) as server:
        outcome = tuned(tiny_decoder, server, capsys, "judged")
        asked = len(server.asked)
        again = tuned(tiny_decoder, server, capsys, "judged")
        assert len(server.asked) == asked, "a finished run is read, not judged anew"
        later = call(capsys, "evaluate", "judged", "--json")
    assert outcome.code in (0, 1), outcome
    found = outcome.document
    assert found["metric"] == "loss"
    ours, (theirs,) = found["test"]["judge_preference"], [m["judge_preference"] for m in found["baselines"].values()]
    assert ours["value"] + theirs["value"] == pytest.approx(1.0)
    assert ours["low"] + theirs["high"] == pytest.approx(1.0)
    card = (desk / "judged" / "model" / "README.md").read_text(encoding="utf-8")
    assert "| judge_preference |" in card
    assert again.document["test"] == found["test"]
    assert later.document["metrics"]["judge_preference"] == ours
    assert call(capsys, "evaluate", "judged", "--no-judge", "--json").document["judged"] is None


def test_the_judge_decides_where_it_is_asked_to(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    """One who loves the first place finds neither better; one who breaks decides nothing, and can be asked again."""
    decides = ("--evaluation.metric", "judge_preference")
    with serving(BREAKS["a fault of the server"][0]) as server:
        outcome = tuned(tiny_decoder, server, capsys, "decided", *decides)
        assert_refused(outcome, Refusal("it was to decide", "evaluation.metric", remedy="start the same command again"))
        url = server.url
    port = int(url.rpartition(":")[2].removesuffix("/v1"))
    with serving(always_a, port) as server:
        outcome = tuned(tiny_decoder, server, capsys, "decided", *decides)
    found: dict[str, Any] = outcome.document
    assert (found["metric"], found["verdict"]) == ("judge_preference", "undecided")
    assert found["difference"]["value"] == 0.0
    assert found["details"]["evaluation"]["judged"]["pairs"]["first_place_preferred"] == 1.0
    assert found["details"]["training"]["metric"] == "loss"


def test_a_metric_of_written_answers_decides(desk: Path, tiny_decoder: Path, capsys: Capture) -> None:
    options = ("--output-dir", "exact", *SHORT, "--evaluation.metric", "chrf", "--json")
    outcome = call(capsys, "tune", "rows.jsonl", "--model", str(tiny_decoder), *options)
    assert outcome.code in (0, 1), outcome
    assert (outcome.document["metric"], outcome.document["details"]["training"]["metric"]) == ("chrf", "loss")
    assert call(capsys, "evaluate", "exact", "--json").document["metric"] == "chrf"
    nothing = (*options, "--evaluation.written-rows", "0")
    refused = call(capsys, "tune", "rows.jsonl", "--model", str(tiny_decoder), *nothing)
    assert_refused(refused, Refusal("'chrf' cannot decide", "--evaluation.metric", "nothing is written"))
