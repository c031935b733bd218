"""Reports: complete, self-contained, harmless whatever the data says, and written without torch."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from feinschliff.reports.pages import render_html, render_markdown, write_report
from feinschliff.reports.views import Reportable
from feinschliff.results.comparison import TuneResult
from tests.reports.sample_results import HOSTILE, data_report, labels_of, rate_search, training_result, tune_result

VOID = {"meta", "br", "img", "hr", "wbr"}


class Structure(HTMLParser):
    """Collects tags, attributes and text, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def large() -> TuneResult:
    return tune_result(77)


@pytest.fixture(scope="module")
def small() -> TuneResult:
    return tune_result(2, test_rows=80)


@pytest.fixture(scope="module")
def everything(large: TuneResult, small: TuneResult) -> dict[str, Reportable]:
    return {
        "77 classes": large,
        "2 classes": small,
        "300 classes": tune_result(300, 600),
        "worse than the probe": tune_result(7, 2000, 0.92, 0.96),
        "evaluation": large.details.evaluation,
        "training": training_result(),
        "data": data_report(labels_of(77)),
        "rates": rate_search(),
        "rates that never fell": rate_search(fell=False),
    }


def test_pages_are_well_formed_self_contained_and_without_scripts(everything: dict[str, Reportable]) -> None:
    for name, result in everything.items():
        page = render_html(result)
        structure = Structure(page)
        assert structure.open == [], name
        assert not {"script", "link", "iframe", "object", "img", "form"} & {tag for tag, _ in structure.tags}, name
        for tag, attributes in structure.tags:
            assert not any(key.startswith("on") for key in attributes), (name, tag)
            assert attributes.get("href", "#").startswith("#"), name  # type: ignore[union-attr]
            assert "src" not in attributes, name
        assert "url(" not in page
        assert "@import" not in page
        assert "default-src 'none'" in page


def test_ids_are_unique_and_every_entry_of_the_contents_leads_somewhere(large: TuneResult) -> None:
    tags = Structure(render_html(large)).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert len(targets) == 15
    assert {target.removeprefix("#") for target in targets if target} <= set(ids)


def test_the_report_of_tune_says_everything(large: TuneResult) -> None:
    page = Structure(render_html(large)).text
    for part in (
        "Ship it",
        "linear probe",
        "majority class",
        "far below this scale",
        "+1.0 points",
        "3,080 test rows",
        "full fine-tuning, 6 epochs",
        "from the cache",
        "cut short: over the time budget",
        "Validation accuracy",
        "Most confused",
        "All 77 classes",
        "F1 of linear probe",
        "The other 65 classes",
        "Expected calibration error",
        "held_out.csv:",
        "141 rows are nearly equal to another row.",
        "exact duplicate of a training row",
        "At the start 6 min 20 s were forecast; it took 6 min 52 s",
        "found in the data",
        "precision bf16: a step takes 41 ms",
        "licence: Apache-2.0",
        'pipeline("text-classification", model=',
        "9f86d081884c7d659a2feaa0c55ad015",
        "3 of the test rows were longer than 64 tokens and cut",
    ):
        assert part in page, part


def test_every_verdict_has_its_word_colour_and_figures(everything: dict[str, Reportable]) -> None:
    for name, word, heading in (
        ("77 classes", "ship", "✓ Ship it"),
        ("2 classes", "undecided", "? Cannot tell yet"),
        ("worse than the probe", "keep-baseline", "✕ Keep the linear probe"),
    ):
        result = everything[name]
        assert isinstance(result, TuneResult)
        page = render_html(result)
        assert result.verdict == word
        assert f'class="verdict {word}"' in page
        assert heading in Structure(page).text
        if word != "ship":
            assert "The verdict does not advise it" in page


def test_worst_classes_come_first_and_all_are_there(large: TuneResult) -> None:
    page = render_html(large).replace("<wbr>", "")
    table = page[page.index('id="classes"') : page.index('id="calibration"')]
    shown = re.findall(r'<tr><td class="words">([^<]+)</td>', table)
    f1 = {c.label: c.f1 for c in large.details.evaluation.classes}
    assert len(shown) == 77
    assert [f1[label] for label in shown] == sorted(f1.values())


def test_the_confusion_matrix_fits_the_number_of_classes(everything: dict[str, Reportable]) -> None:
    pages = {name: render_html(result) for name, result in everything.items()}
    result = everything["2 classes"]
    assert isinstance(result, TuneResult)
    cells = re.findall(r'<td class="(?:hit|miss|none)" style="[^"]*">(\d+)</td>', pages["2 classes"])
    assert result.details.evaluation.confusion is not None
    assert [int(c) for c in cells] == [n for row in result.details.evaluation.confusion for n in row]
    assert 'class="heatmap"' not in pages["2 classes"]
    assert 'class="heatmap"' in pages["77 classes"]
    assert 'class="heatmap"' not in pages["300 classes"]
    assert "a picture of all pairs would show nothing" in pages["300 classes"]


def test_hostile_texts_stay_texts(everything: dict[str, Reportable]) -> None:
    structure = Structure(render_html(everything["77 classes"]))
    assert HOSTILE in " ".join(structure.texts)
    markdown = render_markdown(everything["77 classes"])
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "[link](" not in markdown
    assert r"\`code\` \*\*bold\*\*" in markdown


def test_hostile_names_stay_names_wherever_they_stand(small: TuneResult) -> None:
    poison = "</style></title><script>x</script>`|\n# big\n|{{ 7*7 }}"
    changed = small.model_dump_json()
    for name in ("positive", "linear probe", "minilm-l6", "runs/tickets", "full fine-tuning", "Apache-2.0", "default"):
        changed = changed.replace(name, poison.replace("\n", "\\n"))
    result = TuneResult.model_validate_json(changed)
    page = Structure(render_html(result))
    assert page.open == []
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert [tag for tag, _ in page.tags].count("style") == 1
    markdown = render_markdown(result)
    assert "{{ 7*7 }}" in page.text
    assert "<script" not in re.sub(r"(?<!\\)`[^`]*`", "", markdown)  # within backticks it is text
    assert "\n# big" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| setting") or "`model.source`" in line]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [4, 4]


def test_long_texts_are_cut(small: TuneResult) -> None:
    worst = small.details.evaluation.worst[0]
    row = worst.row.model_copy(update={"text": "x" * 5_000_000})
    evaluation = small.details.evaluation.model_copy(update={"worst": [worst.model_copy(update={"row": row})]})
    assert len(render_html(evaluation)) < 100_000
    assert len(render_markdown(evaluation)) < 100_000


def test_markdown_tables_have_the_same_number_of_cells_in_every_row(everything: dict[str, Reportable]) -> None:
    for name, result in everything.items():
        width = None
        for line in render_markdown(result).splitlines():
            if not line.startswith("|"):
                width = None
                continue
            cells = len(re.findall(r"(?<!\\)\|", line))
            assert width in (None, cells), (name, line)
            width = cells


def test_markdown_says_the_verdict_and_the_figures(large: TuneResult) -> None:
    markdown = render_markdown(large)
    assert "## Verdict: Ship it" in markdown
    assert "| tuned model | 95.0% (94.1% to 95.7%) |" in markdown
    assert "Expected calibration error" in markdown
    assert '`feinschliff predict runs/tickets "a text to sort"`' in markdown


def test_a_result_with_little_in_it_is_rendered(small: TuneResult) -> None:
    details = small.details.model_copy(
        update={
            "trials": [], "training": None, "baseline_evaluation": None, "origins": [], "announcements": [],
            "dropped_reasons": {}, "forecast_seconds": None, "machine": "", "base_license": "",
            "data": small.details.data.model_copy(update={"findings": [], "label_counts": {}, "lengths": None}),
            "evaluation": small.details.evaluation.model_copy(
                update={"confusion": None, "classes": [], "calibration": None, "worst": [], "notes": []}
            ),
        }
    )  # fmt: skip
    bare = small.model_copy(update={"details": details, "baselines": {"linear probe": small.baselines["linear probe"]}})
    text = Structure(render_html(bare)).text
    assert "Nothing was found that needs attention." in text
    assert "licence: not stated" in text
    assert "Nothing was found that needs attention." in render_markdown(bare)


def test_curve_points_that_are_not_finite_are_left_out_and_counted() -> None:
    training = training_result()
    curve = [p.model_copy(update={"train_loss": float("nan")}) if p.step in (5, 9) else p for p in training.curve]
    page = render_html(training.model_copy(update={"curve": curve}))
    assert "2 points of the curves could not be drawn" in page
    assert "nan" not in "".join(re.findall(r'points="([^"]*)"', page))


def test_both_files_are_written_into_the_run(tmp_path: Path, small: TuneResult) -> None:
    path = write_report(small, tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == render_html(small)
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == render_markdown(small)


def test_rendering_needs_no_torch(tmp_path: Path, small: TuneResult) -> None:
    (tmp_path / "result.json").write_text(small.model_dump_json(), encoding="utf-8")
    program = (
        "import sys; from pathlib import Path\n"
        "from feinschliff.reports.pages import write_report\n"
        "from feinschliff.reports.terminal import print_tune_summary\n"
        "from feinschliff.results.comparison import TuneResult\n"
        "result = TuneResult.model_validate_json(Path(sys.argv[1], 'result.json').read_text(encoding='utf-8'))\n"
        "write_report(result, sys.argv[1]); print_tune_summary(result)\n"
        "assert not {'torch', 'transformers', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert "Cannot tell" in done.stdout


@pytest.mark.parametrize("render", [lambda result: Structure(render_html(result)).text, render_markdown])
def test_the_report_says_what_was_learned_by_heart(render: Any) -> None:
    said = render(training_result())
    for part in (
        "Learned, or learned by heart?",
        "91% of them",
        "1,000 training rows",
        "99.8%",
        "62.0%",
        "tickets.csv",
    ):
        assert part in said
    without = training_result().model_copy(update={"diagnosis": None})
    assert "by heart" not in render(without)


@pytest.mark.parametrize("render", [lambda result: Structure(render_html(result)).text, render_markdown])
def test_the_page_of_a_sweep_says_the_rate(render: Any) -> None:
    said = render(rate_search())
    for part in ("1.0e-04", "1.0e-03", "2.2e-04", "5e-05"):
        assert part in said
    assert "The loss never fell" in render(rate_search(fell=False))


def test_the_picture_of_a_sweep_has_powers_of_ten_and_marks_the_suggestion() -> None:
    page = render_html(rate_search())
    assert ">1e-06</text>" in page
    assert ">suggested</text>" in page
    assert page.count("<polyline") == 2
    assert ">suggested</text>" not in render_html(rate_search(fell=False))
