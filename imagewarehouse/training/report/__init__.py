"""The report of an evaluation: metrics.json for programs and index.html, one file without a network, for people.

| module | what is in it |
| --- | --- |
| `page.py` | writes both files; the templates and the filters they have |
| `sections.py` | what each section of the page says, as values |
| `plots.py` | plots and photos, as data URIs |
| `wording.py` | numbers, sizes and foreign text as the page shows them |
| `templates/` | all markup: `frame.html` around `evaluation.html`, a file a section, `parts.html` for what they share |
"""
