"""The aiohttp application: every route, and what stands before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from importlib.resources import files

from aiohttp import web

from monitor.fields import Secret
from monitor.pace import Pace
from monitor.web import link_pages, pagerduty, people
from monitor.web.api import PING_SCHEMA, RELEASE_SCHEMA, Api
from monitor.web.budgets import CORRECTION_SCHEMA, BudgetApi
from monitor.web.endpoint import Endpoint, openapi
from monitor.web.exposition import Exposition
from monitor.web.guard import BODY_LIMIT, add_security_headers, guard_changes, speak_plainly
from monitor.web.html import Markup
from monitor.web.link_pages import LinkPages
from monitor.web.links import AckLinks
from monitor.web.overview import look
from monitor.web.page import document, live_part
from monitor.web.pagerduty import PagerDutyWebhook
from monitor.web.people import People
from monitor.web.respond import Handler, SingleFlight, json_response
from monitor.web.view import View

STATIC = {
    "style.css": "text/css",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def build_web(
    view: View,
    *,
    token: Secret | None,
    executor: Executor,
    links: AckLinks | None = None,
    pagerduty_secrets: Sequence[Secret] = (),
    page_url: str | None = None,
) -> web.Application:
    """Return the application; serve it with `server.make_runner`.

    Without `token` everything that changes something is refused, but for what is signed: the
    `links` in messages and PagerDuty's webhook. Exposition is rendered in `executor`, where one
    thread is enough. `page_url` is the address that people know.
    """
    exposition, page = Exposition(view, executor), _Page(view)
    endpoints = [
        *_pages(view, exposition, page),
        *_api(Api(view)),
        *_budgets(BudgetApi(view)),
        *people.endpoints(People(view)),
        *link_pages.endpoints(LinkPages(view, links)),
        *pagerduty.endpoints(PagerDutyWebhook(view, pagerduty_secrets)),
    ]
    proofs = {each.path: each.proof for each in endpoints if each.proof is not None}
    guard = guard_changes(token, proofs, page_url)
    app = web.Application(middlewares=[speak_plainly, guard], client_max_size=BODY_LIMIT)
    contract = openapi(endpoints)

    async def describe(_request: web.Request) -> web.Response:
        return json_response(contract)

    for endpoint in endpoints:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.handler)
        if endpoint.method == "GET":
            app.router.add_route("HEAD", endpoint.path, endpoint.handler)
    app.router.add_get("/api/v1/openapi.json", describe)
    for name, media in STATIC.items():
        app.router.add_get(f"/static/{name}", _static(name, media))
    app.on_response_prepare.append(add_security_headers)

    async def close(_app: web.Application) -> None:
        await exposition.close()
        await page.close()

    app.on_cleanup.append(close)
    return app


class _Page:
    """The live page; browsers that ask at the same time share one rendering."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._flights: SingleFlight[Markup] = SingleFlight()

    async def whole(self, _request: web.Request) -> web.Response:
        return web.Response(text=document(await self._live()), content_type="text/html")

    async def fragment(self, _request: web.Request) -> web.Response:
        return web.Response(text=await self._live(), content_type="text/html")

    async def close(self) -> None:
        await self._flights.close()

    async def _live(self) -> Markup:
        return await self._flights.get("page", self._render)

    async def _render(self) -> Markup:
        clock = asyncio.get_running_loop().time
        return await live_part(await look(self._view, clock), Pace(clock))


def _pages(view: View, exposition: Exposition, page: _Page) -> list[Endpoint]:
    async def metrics(request: web.Request) -> web.Response:
        if "query" in request.query:
            return await Api(view).query(request)
        return await exposition.respond(request)

    asked = {
        "query": "a signal such as error_rate_5m; the answer is then JSON",
        "deployment": "name or service",
        "environment": "in any case",
    }
    live, ready = _probe(view.live), _probe(view.ready)
    return [
        Endpoint(path="/", handler=page.whole, summary="The live page", media="text/html"),
        Endpoint(path="/live", handler=page.fragment, summary="Its live part", media="text/html"),
        Endpoint(
            path="/metrics",
            handler=metrics,
            summary="Prometheus or OpenMetrics exposition, or one value",
            media="text/plain",
            parameters=asked,
        ),
        *(
            Endpoint(path=path, handler=live, summary="Is it alive?", media="text/plain")
            for path in ("/livez", "/healthz", "/-/healthy")
        ),
        *(
            Endpoint(path=path, handler=ready, summary="Is it ready?", media="text/plain")
            for path in ("/readyz", "/-/ready")
        ),
    ]


def _api(api: Api) -> list[Endpoint]:
    limit = {"limit": "how many incidents to look at, newest first"}
    root = "/api/v1"
    return [
        Endpoint(path=f"{root}/deployments", handler=api.deployments, summary="Deployments"),
        Endpoint(path=f"{root}/alerts", handler=api.alerts, summary="Alerts"),
        Endpoint(
            path=f"{root}/incidents",
            handler=api.incidents,
            summary="Incidents",
            parameters=limit,
        ),
        Endpoint(
            path=f"{root}/incidents/{{id}}",
            handler=api.incident,
            summary="An incident with its ledger",
        ),
        Endpoint(
            path=f"{root}/deliveries",
            handler=api.deliveries,
            summary="What was sent to whom",
            parameters=limit,
        ),
        Endpoint(path=f"{root}/releases", handler=api.releases, summary="Latest releases"),
        Endpoint(
            method="POST",
            path=f"{root}/releases",
            handler=api.accept_release,
            summary="Tell of a release",
            status=202,
            body=RELEASE_SCHEMA,
        ),
        Endpoint(
            method="POST",
            path=f"{root}/heartbeats",
            handler=api.ping,
            summary="A job's sign of life",
            status=202,
            body=PING_SCHEMA,
        ),
        Endpoint(path=f"{root}/rollbacks", handler=api.rollbacks, summary="Rollbacks"),
        Endpoint(
            method="POST",
            path="/-/reload",
            handler=api.reload,
            summary="Read the configuration again",
        ),
    ]


def _budgets(api: BudgetApi) -> list[Endpoint]:
    root = "/api/v1"
    which = {"deployment": "name or service", "environment": "in any case"}
    return [
        Endpoint(path=f"{root}/slos", handler=api.slos, summary="Objectives and budgets"),
        Endpoint(
            path=f"{root}/gate",
            handler=api.gate,
            summary="May it be changed now? 200 go, 409 stop",
            parameters=which,
        ),
        Endpoint(
            path=f"{root}/windows",
            handler=api.windows,
            summary="What was counted",
            parameters={
                "window": "such as 1h",
                "by": "target, deployment, environment or service",
            },
        ),
        Endpoint(path=f"{root}/corrections", handler=api.corrections, summary="Corrections"),
        Endpoint(
            method="POST",
            path=f"{root}/corrections",
            handler=api.correct,
            summary="Leave a stretch of time out of budgets",
            status=202,
            body=CORRECTION_SCHEMA,
        ),
        Endpoint(
            method="POST",
            path=f"{root}/corrections/{{id}}/undo",
            handler=api.undo,
            summary="Count again what a correction left out",
            status=202,
        ),
    ]


def _probe(trouble: Callable[[], str | None]) -> Handler:
    async def respond(_request: web.Request) -> web.Response:
        reason = trouble()
        return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)

    return respond


def _static(name: str, media: str) -> Handler:
    body = (files("monitor.web") / "static" / name).read_bytes()

    async def respond(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=media)

    return respond
