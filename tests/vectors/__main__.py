"""`python -m tests.vectors` writes the files."""

from tests.vectors.making import FOLDER, documents

for name, text in documents().items():
    (FOLDER / f"{name}.json").write_text(text, "utf-8")
