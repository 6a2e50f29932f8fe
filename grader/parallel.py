"""Runs pieces of work side by side, each in a process of its own.

Processes and not threads: a child that dies with its parent is bound to the
thread that started it, and each process can be the one that its lab's orphans
come back to.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence

from grader.errors import KitError

Emit = Callable[[Any], None]


def run_all(items: Sequence[Any], work: Callable[[Any, Emit], Any], jobs: int,
            on_event: Optional[Callable[[Any], None]] = None,
            alone: bool = False) -> List[Any]:
    """work(item, emit) for every item, at most `jobs` at a time; the results
    in the items' order.  What a piece of work emits goes to on_event here.
    `alone`: a process of its own even for a single item."""
    on_event = on_event or (lambda event: None)
    if (jobs <= 1 or len(items) <= 1) and not alone:
        return [work(item, on_event) for item in items]
    return _run_in_processes(items, work, max(1, jobs), on_event)


def _run_in_processes(items: Sequence[Any], work: Callable[[Any, Emit], Any],
                      jobs: int, on_event: Callable[[Any], None]) -> List[Any]:
    import multiprocessing
    from multiprocessing.connection import wait

    context = multiprocessing.get_context("fork")
    results: List[Any] = [None] * len(items)
    waiting = list(enumerate(items))[::-1]
    running: dict = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index, item = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                worker = context.Process(target=_work, args=(work, item, theirs))
                worker.start()
                theirs.close()
                running[ours] = (index, worker)
            for connection in wait(list(running)):
                index, worker = running[connection]
                kind, value = _receive(connection)
                if kind == "event":
                    on_event(value)
                    continue
                del running[connection]
                connection.close()
                worker.join()
                if kind == "error":
                    raise value
                results[index] = value
    finally:
        for _, worker in running.values():
            worker.terminate()
        for _, worker in running.values():
            worker.join()
    return results


def _receive(connection: Any) -> Any:
    try:
        return connection.recv()
    except EOFError:
        return "error", KitError("a part of the grader was ended from outside")


def _work(work: Callable[[Any, Emit], Any], item: Any, connection: Any) -> None:
    try:
        result = work(item, lambda event: connection.send(("event", event)))
        connection.send(("result", result))
    except KeyboardInterrupt:
        pass
    except Exception as error:  # to be raised in the parent
        if not isinstance(error, KitError):
            import traceback
            error = RuntimeError(traceback.format_exc())
        connection.send(("error", error))
