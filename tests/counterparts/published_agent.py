"""The client code that is published for agents, as it is printed, and a `main` that calls a tool of each server with it.

    python published_agent.py TOKEN TOOL ARGUMENTS URL...      prints one line of JSON: what the code said for each URL

    {"success": false, "auth_required": true, "authorization_urls": [...]}
    {"success": true, "result": the tool's answer}
    {"raised": class of the exception, "text": what str() of it shows}

Deployed agents run these very functions, so they are not to be touched: what the gate answers has to fit them.
"""

import re
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

def get_auth_error_data(exception: Exception) -> str | None:
    """Traverse exception chain to find auth error with URL."""
    current = exception
    while current is not None:
        try:
            data = current.error.data
            if data and "Please visit:" in str(data):
                return str(data)
        except AttributeError:
            pass
        current = current.__cause__
    return None


def extract_auth_urls(error_data: str) -> list[str]:
    """Extract authorization URLs from MCP Gateway error."""
    match = re.search(r"Please visit:\s*(.+)$", error_data)
    if match:
        # URLs are separated by " , " (space-comma-space)
        return [url.strip() for url in match.group(1).split(" , ")]
    return []


async def call_mcp_with_oauth(
    mcp_url: str,
    auth_token: str,  # User's TrueFoundry PAT or External Identity JWT
    tool_name: str,
    tool_args: dict
):
    transport = StreamableHttpTransport(
        url=mcp_url,
        headers={"Authorization": f"Bearer {auth_token}"}
    )
    
    try:
        # Note: OAuth errors occur during connection, not tool calls
        async with Client(transport) as client:
            result = await client.call_tool(tool_name, tool_args)
            return {"success": True, "result": result}
            
    except Exception as e:
        error_data = get_auth_error_data(e)
        if error_data:
            auth_urls = extract_auth_urls(error_data)
            if auth_urls:
                return {
                    "success": False,
                    "auth_required": True,
                    "authorization_urls": auth_urls
                }
        raise


# Printed as far as here.

import asyncio
import json
import logging
import sys
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)


async def call(url, token, tool, arguments):
    """What the code above says, as JSON."""
    try:
        said = await call_mcp_with_oauth(url, token, tool, arguments)
    except Exception as error:
        return {"raised": type(error).__name__, "text": str(error)}
    if said["success"]:
        answer = said["result"]
        said["result"] = answer.structured_content or [part.text for part in answer.content]
    return said


async def main():
    """One agent, several servers."""
    token, tool, arguments, *urls = sys.argv[1:]
    print(json.dumps([await call(url, token, tool, json.loads(arguments)) for url in urls]))


if __name__ == "__main__":
    asyncio.run(main())
