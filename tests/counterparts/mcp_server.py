"""An MCP server made with fastmcp: it says which credential each call came with, so that a swap is visible.

    python mcp_server.py --name demo [--port 0] --auth none
    python mcp_server.py --name demo --auth header --header X-Api-Key --value-file FILE
    python mcp_server.py --name demo --auth bearer --issuer URL --jwks-uri URL --audience URI

Runs with each version of fastmcp that the tests install. Prints one line of JSON when it serves: {name, port, url}.
`GET /seen` lists the requests that arrived, refused ones included: method, path, names of the headers, tail of the credential.
"""

import argparse
import asyncio
import base64
import contextlib
import hmac
import json
import pathlib
import socket
import sys
import warnings

warnings.filterwarnings("ignore")

import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.server.dependencies import get_http_request
from starlette.responses import JSONResponse

SHOWN = 6


def tail(value):
    """Enough of a secret to recognise it by."""
    return value[-SHOWN:] if len(value) > 2 * SHOWN else "*" * len(value)


def claims(token):
    """What a JWT says, unverified; None when it is no JWT."""
    try:
        payload = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return None


def credential(headers, header):
    """What the request was authenticated with, without the secret itself."""
    seen = {}
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        seen["authorization"] = {"scheme": scheme, "tail": tail(token), "claims": claims(token)}
    if header and header.lower() != "authorization" and header in headers:
        seen[header.lower()] = {"tail": tail(headers[header])}
    return seen


def tools(server, options):
    """Registers the tools."""

    @server.tool
    def whoami() -> dict:
        """Who this server was called as: names of all headers, and the credential without its secret part."""
        headers = get_http_request().headers
        return {
            "server": options.name,
            "auth": options.auth,
            "credential": credential(headers, options.header),
            "headers": sorted(headers.keys()),
        }

    @server.tool
    def echo(text: str) -> str:
        """Gives back the text."""
        return text

    @server.tool
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    @server.tool
    async def count(steps: int, pause: float, ctx: Context) -> int:
        """Counts with a pause in seconds after each step, reporting progress."""
        for step in range(steps):
            await ctx.report_progress(step, steps)
            await asyncio.sleep(pause)
        return steps

    @server.tool
    def fail(reason: str) -> str:
        """Fails, as a tool may."""
        raise ValueError(reason)


class Door:
    """Notes every request, and asks for the header where one is asked for."""

    def __init__(self, app, options, value, seen):
        self.app, self.options, self.value, self.seen = app, options, value, seen

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["path"] == "/seen":
            await JSONResponse(self.seen)(scope, receive, send)
            return
        self.seen.append(
            {
                "method": scope["method"],
                "path": scope["path"],
                "headers": sorted(headers),
                "credential": credential(headers, self.options.header),
            }
        )
        if self.value is not None:
            given = headers.get(self.options.header.lower(), "")
            if not hmac.compare_digest(given.encode(), self.value.encode()):
                await JSONResponse({"error": "unauthorized"}, status_code=401)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def application(options, seen):
    """The server as an ASGI application at /mcp."""
    auth, value = None, None
    if options.auth == "bearer":
        from fastmcp.server.auth.providers.jwt import JWTVerifier

        auth = JWTVerifier(jwks_uri=options.jwks_uri, issuer=options.issuer, audience=options.audience, algorithm=options.algorithm)
    elif options.auth == "header":
        value = pathlib.Path(options.value_file).read_text().strip()
    server = FastMCP(options.name, auth=auth)
    tools(server, options)
    app = server.http_app(path="/mcp", stateless_http=options.stateless or None)
    return Door(app, options, value, seen)


async def serve(options):
    """Serves until it is told to end."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", options.port))
    except OSError as error:
        sys.exit(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}")
    port = listener.getsockname()[1]
    config = uvicorn.Config(application(options, []), log_level="info", lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if not task.done():
        url = f"http://127.0.0.1:{port}/mcp"
        print(json.dumps({"name": options.name, "port": port, "url": url}), flush=True)
    await task


async def serve_all(servers):
    """Several servers in one process: importing the library takes longer than all else."""
    await asyncio.gather(*(serve(options) for options in servers))


def main():
    parser = argparse.ArgumentParser(description=__doc__, epilog="--and between the options of several servers")
    parser.add_argument("--name", default="demo")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--auth", choices=["none", "header", "bearer"], default="none")
    parser.add_argument("--header", default="Authorization")
    parser.add_argument("--value-file", help="holds the exact value the header must have")
    parser.add_argument("--issuer")
    parser.add_argument("--jwks-uri")
    parser.add_argument("--audience")
    parser.add_argument("--algorithm", default="RS256")
    parser.add_argument("--stateless", action="store_true", help="keep no sessions")
    servers, rest = [], sys.argv[1:]
    while "--and" in rest:
        end = rest.index("--and")
        servers.append(parser.parse_args(rest[:end]))
        rest = rest[end + 1 :]
    servers.append(parser.parse_args(rest))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_all(servers))


if __name__ == "__main__":
    main()
