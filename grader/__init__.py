"""The grader of the IPC lab kit: builds a student's labs, runs them, scores them.

A pipeline that reads top to bottom, with frozen dataclasses (model.py) between
the steps:

    discover    lab.toml and the student's files     -> Lab, Submission
    build       cc, objcopy, link                    -> Build
    run         the judge, natively, then Valgrind   -> Run
    parse       Check's log, events, Valgrind's XML  -> Outcome
    score       the rubric                           -> LabScore, Report
    report/     terminal, JSON

pipeline.py strings them together for a lab and runs labs side by side.  Of the
steps only build and run start processes, both through process.py.  The program
that decides (the judge) never runs student code; see common/kit.h.
"""
