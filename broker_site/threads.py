"""Blocking work of the ASGI process: requests, queries and statements, by a few threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

_threads = ThreadPoolExecutor(12, thread_name_prefix="asgi")
_watching = ThreadPoolExecutor(4, thread_name_prefix="watch")
"""for what many wait for, and that shall not stand in a queue behind what each of them asks"""


async def in_thread(
    work: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs
) -> Answer:
    """What the work gives, done in a thread, with this task's context variables."""
    return await in_context(copy_context(), _connected, partial(work, *args, **kwargs))


async def in_watching_thread(work: Callable[[], Answer]) -> Answer:
    """The same, past those who wait for a thread."""
    return await _done(_watching, partial(copy_context().run, _connected, work))


async def in_context(
    context: Context, work: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs
) -> Answer:
    """The same with the context variables of `context`, which keeps what is set there."""
    return await _done(_threads, partial(context.run, partial(work, *args, **kwargs)))


async def _done(threads: ThreadPoolExecutor, work: Callable[[], Answer]) -> Answer:
    """A task that is cancelled waits for its thread, so that nothing of it is used by two."""
    working = asyncio.get_running_loop().run_in_executor(threads, work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise


def _connected(work: Callable[[], Answer]) -> Answer:
    """Without connections of this thread that the database has closed, as at each request."""
    close_old_connections()
    return work()
