"""Last step: outputs.  Each is a pure function of model.Report.

    terminal.py    `make grade`: everything, with rich
    quick.py       `make lab4`: a line a test, without rich (start-up time)
    json_report.py report.json, described by report.schema.json
    words.py       what they have in common: the sentences
    style.py       what the output stream can show
"""
