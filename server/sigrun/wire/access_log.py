"""A line for every request: who asked for what, how it ended, how large and how long."""

from __future__ import annotations

import logging
import time

from sigrun.errors import Code, code_of
from sigrun.inference.context import CallContext
from sigrun.wire.interceptors import Answer, Reply, Request

logger = logging.getLogger(__name__)


class AccessLog:
    """An interceptor that logs at INFO, after the answer is there."""

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        """Return `answer` with a line in the log behind it."""

        async def logged(request: Request, context: CallContext) -> Reply:
            started = time.perf_counter()
            code, size = Code.OK, 0
            try:
                reply = await answer(request, context)
                size = len(reply)
                return reply
            except BaseException as error:
                code = code_of(error)
                raise
            finally:
                logger.info(
                    "%s %s %s from %s: %d bytes in, %d bytes out, %.3f ms",
                    context.door.value,
                    method,
                    code.name,
                    context.peer or "unknown",
                    len(request),
                    size,
                    (time.perf_counter() - started) * 1e3,
                )

        return logged
