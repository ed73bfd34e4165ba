"""A picture in the thread of a Slack message: three calls, of which none is repeated.

Owns the calls and what ends them. A picture is worth no retry and delays no message: whoever calls
does so after the message was delivered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2

from monitor.fields import Secret
from monitor.model import Delivery
from monitor.notify.http import Endpoint, post

GET_URL, COMPLETE = "files.getUploadURLExternal", "files.completeUploadExternal"
NAME, TITLE = "course.png", "Error rate and latency around the onset"


async def upload(
    http: httpx2.AsyncClient,
    base: str,
    token: str,
    picture: bytes,
    *,
    channel: str,
    thread_ts: str,
    limit_s: float,
) -> str:
    """Put `picture` (PNG) into a thread; return Slack's word for why not, "" when it is there.

    `limit_s` is for each call.
    """
    authorized = {"authorization": f"Bearer {token}"}
    form = urlencode({"filename": NAME, "length": len(picture), "alt_txt": TITLE})
    place = await _ask(
        http, f"{base}/api/{GET_URL}", form.encode(),
        {**authorized, "content-type": "application/x-www-form-urlencoded"}, limit_s,
    )  # fmt: skip
    address, file = place.get("upload_url"), place.get("file_id")
    if not isinstance(address, str) or not isinstance(file, str):
        return str(place.get("error") or "no place for it")
    if urlsplit(address).scheme != urlsplit(base).scheme:
        return "a place that is not safe"
    # The address is the permission: the token is for the Web API only.
    sent = await post(
        http, Endpoint.parse(Secret(address)), picture, {"content-type": "image/png"}, limit_s
    )
    if isinstance(sent, Delivery) or sent.status != httpx2.codes.OK:
        return "the upload failed"
    arguments = {
        "files": [{"id": file, "title": TITLE}],
        "channel_id": channel,
        "thread_ts": thread_ts,
    }
    done = await _ask(
        http, f"{base}/api/{COMPLETE}", json.dumps(arguments).encode(),
        {**authorized, "content-type": "application/json; charset=utf-8"}, limit_s,
    )  # fmt: skip
    return "" if done.get("ok") is True else str(done.get("error") or "no answer")


async def _ask(
    http: httpx2.AsyncClient,
    address: str,
    content: bytes,
    headers: Mapping[str, str],
    limit_s: float,
) -> dict[str, Any]:
    answer = await post(http, Endpoint.parse(Secret(address)), content, headers, limit_s)
    if isinstance(answer, Delivery) or answer.status != httpx2.codes.OK:
        return {}
    try:
        said = json.loads(answer.body or "")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
