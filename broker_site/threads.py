"""Blocking work of the ASGI process: requests, queries and statements, by a few threads."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from functools import partial
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

THREADS = 12
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="asgi")


async def in_thread(
    work: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs
) -> Answer:
    """What the work gives, done in a thread, with this task's context variables."""
    return await in_context(copy_context(), work, *args, **kwargs)


async def in_context(
    context: Context, work: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs
) -> Answer:
    """The same with the context variables of `context`, which keeps what is set there.

    A task that is cancelled waits for its thread, so that nothing of it is used by two.
    """
    done = partial(context.run, partial(work, *args, **kwargs))
    working = asyncio.get_running_loop().run_in_executor(_threads, done)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        raise
