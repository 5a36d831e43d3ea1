"""The tables of `docs/` that follow from the code: written by `make docs`, held by `make check`.

generate     finds the tables in the pages, and writes them anew
page_texts   writes the types of the page's texts
tables       what each of them says
"""
