"""Calls one tool with fastmcp's own client, as an agent would, and prints what came of it as one line of JSON.

    python client_call.py URL TOKEN TOOL [ARGUMENTS]       TOKEN "-" sends none; TOOL "-" lists the tools

    {"ok": true, "result": …, "progress": n, "version": "fastmcp …"}
    {"ok": false, "error": {"code", "message", "data"}, "status": HTTP status, "challenge": WWW-Authenticate,
     "exceptions": [class names, outermost first], "text": what str() of the exception shows, …}
"""

import asyncio
import json
import logging
import os
import sys
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import fastmcp
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

TIMEOUT = float(os.environ.get("CALL_TIMEOUT", "30"))


def chain(error):
    """The exception and all it came from, groups opened."""
    found, waiting = [], [error]
    while waiting:
        error = waiting.pop(0)
        if error is None or any(error is other for other in found):
            continue
        found.append(error)
        waiting.extend(getattr(error, "exceptions", ()))
        waiting.extend([error.__cause__, error.__context__])
    return found


def plain(value):
    """As JSON can hold it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    try:
        json.dumps(value)
        return value
    except TypeError:
        return str(value)


def failure(error):
    """What the caller of the SDK can find out."""
    errors = chain(error)
    report = {"ok": False, "exceptions": [type(each).__name__ for each in errors], "text": str(error)}
    for each in errors:
        detail = getattr(each, "error", None)
        if detail is not None and hasattr(detail, "code"):
            report.setdefault("error", {"code": detail.code, "message": detail.message, "data": plain(detail.data)})
        response = getattr(each, "response", None)
        if response is not None and hasattr(response, "status_code"):
            report.setdefault("status", response.status_code)
            report.setdefault("challenge", response.headers.get("www-authenticate"))
    return report


async def call(url, token, tool, arguments):
    """Connects, calls, disconnects."""
    progress = 0

    async def on_progress(*_):
        nonlocal progress
        progress += 1

    transport = StreamableHttpTransport(url, headers={} if token == "-" else {"Authorization": f"Bearer {token}"})
    async with Client(transport, timeout=TIMEOUT, init_timeout=TIMEOUT) as client:
        if tool == "-":
            result = sorted(each.name for each in await client.list_tools())
        else:
            answer = await client.call_tool(tool, arguments, progress_handler=on_progress)
            result = answer.structured_content if answer.structured_content is not None else [plain(each) for each in answer.content]
            if isinstance(result, dict) and list(result) == ["result"]:
                result = result["result"]
        return {"ok": True, "result": result, "progress": progress}


def main():
    url, token, tool, *rest = sys.argv[1:]
    arguments = json.loads(rest[0]) if rest else {}
    try:
        report = asyncio.run(asyncio.wait_for(call(url, token, tool, arguments), TIMEOUT))
    except BaseException as error:  # every way of failing is what the tests look at
        report = failure(error)
    report["version"] = f"fastmcp {fastmcp.__version__}"
    print(json.dumps(report))
    sys.exit(0 if report["ok"] else 1)


if __name__ == "__main__":
    main()
