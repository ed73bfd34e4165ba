"""Signed links: theirs is refused, ours asks before it acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import strategies as st

from monitor.fields import Secret
from monitor.matching import labels_of, matches
from monitor.model import Acknowledgement
from monitor.web.guard import FORM
from monitor.web.link_pages import matchers_of
from monitor.web.links import LINK_LIFE_S, AckLinks, LinkError, Purpose
from monitor.web.respond import RefusalError
from tests.web.world import CLOSED, HOSTILE, INCIDENT, LINKS, NOW, Connect, World, part

MEDIA = {"Content-Type": FORM}


def path_of(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def path(purpose: Purpose, incident: str = INCIDENT.id, *, at: float = NOW) -> str:
    return path_of(LINKS.address(purpose, incident, at))


def altered(text: str, **changes: str) -> str:
    parts = urlsplit(text)
    return f"{parts.path}?{urlencode({**dict(parse_qsl(parts.query)), **changes})}"


FORGED = {
    "no signature": "/{purpose}/01INCIDENT",
    "an empty signature": "/{purpose}/01INCIDENT?until=9999999999&sig=",
    "of another key": path_of(
        AckLinks(Secret("another"), "https://x").address(Purpose.ACKNOWLEDGE, INCIDENT.id, NOW)
    ).replace("/ack/", "/{purpose}/"),
    "of another incident": path(Purpose.ACKNOWLEDGE, "01OTHER").replace("01OTHER", INCIDENT.id),
    "prolonged": altered(path(Purpose.ACKNOWLEDGE), until=str(int(NOW + 2 * LINK_LIFE_S))),
    "no number": altered(path(Purpose.ACKNOWLEDGE), until="tomorrow"),
    "cut": altered(path(Purpose.ACKNOWLEDGE), sig="0123"),
    "no text": altered(path(Purpose.ACKNOWLEDGE), sig="\u00e4\u0000"),
    "expired": path(Purpose.ACKNOWLEDGE, at=NOW - LINK_LIFE_S - 1),
}


@pytest.mark.parametrize("link", FORGED.values(), ids=FORGED.keys())
@pytest.mark.parametrize("purpose", Purpose)
async def test_forged_links_change_nothing(
    client: TestClient,
    world: World,
    caplog: pytest.LogCaptureFixture,
    purpose: Purpose,
    link: str,
) -> None:
    """401 whether looked at or sent, and the log knows."""
    if purpose is Purpose.SILENCE:
        link = link.replace("/ack/", "/silence/")
    address = link.format(purpose=purpose)
    looked = await client.get(address)
    assert (looked.status, looked.content_type) == (401, "text/html")
    sent = await client.post(address, data={"by": "eve", "for": "1h"}, headers=MEDIA)
    assert sent.status == 401
    assert world.asked == []
    assert caplog.text.count("a signed link was refused") == 2


async def test_a_link_is_good_for_its_purpose_only(client: TestClient, world: World) -> None:
    """Who may acknowledge may not silence with the same link."""
    for purpose, other in ((Purpose.ACKNOWLEDGE, "silence"), (Purpose.SILENCE, "ack")):
        address = path(purpose).replace(f"/{purpose}/", f"/{other}/")
        assert (await client.post(address, data={"by": "eve"}, headers=MEDIA)).status == 401
    assert world.asked == []


@pytest.mark.parametrize("purpose", Purpose)
async def test_a_look_changes_nothing(client: TestClient, world: World, purpose: Purpose) -> None:
    """Mail scanners follow every link; they find a form, with hostile text as text."""
    for method in ("GET", "HEAD", "GET"):
        answer = await client.request(method, path(purpose))
        assert answer.status == 200
    page = await answer.text()
    assert '<form method="post">' in page
    assert HOSTILE not in page
    assert "high_error_rate on checkout-production" in page
    assert world.asked == []


async def test_the_button_acknowledges(client: TestClient, world: World) -> None:
    """The form comes back to its own address from our own page."""
    origin = str(client.make_url("/")).rstrip("/")
    headers = {**MEDIA, "Origin": origin, "Sec-Fetch-Site": "same-origin"}
    address = path(Purpose.ACKNOWLEDGE)
    for form, by, lasts_s in (({"by": "ada", "for": "4h"}, "ada", 4 * 3600), ({}, "link", 3600)):
        answer = await client.post(address, data=form, headers=headers)
        assert answer.status == 200
        said = Acknowledgement(by=by, at=NOW, until=NOW + lasts_s, source="link")
        assert world.asked.pop() == (INCIDENT.id, said)
    shown = await (await client.get(address)).text()
    assert "link works on it until" in shown


async def test_the_button_silences(client: TestClient, world: World) -> None:
    """The alerts of the incident, with the name of who did it."""
    shown = INCIDENT.alerts_state
    form = {"by": "ada", "for": "4h", "until_resolved": "yes", "shown": shown}
    answer = await client.post(path(Purpose.SILENCE), data=form, headers=MEDIA)
    assert answer.status == 200
    [made] = world.silences()
    assert [str(each) for each in made.matchers] == [
        "rule=high_error_rate",
        "deployment=checkout-production",
    ]
    assert (made.owner, made.ends_at, made.ends_on_resolve) == ("ada", NOW + 4 * 3600, True)
    assert INCIDENT.id in made.reason


@pytest.mark.parametrize(
    ("purpose", "form", "status"),
    [
        (Purpose.SILENCE, {"for": "1h", "shown": INCIDENT.alerts_state}, 400),
        (Purpose.SILENCE, {"by": "ada", "for": "1h"}, 409),
        (Purpose.SILENCE, {"by": "ada", "for": "90d"}, 400),
        (Purpose.ACKNOWLEDGE, {"by": "a\x00b"}, 400),
        (Purpose.ACKNOWLEDGE, {"for": "week"}, 400),
    ],
)
async def test_a_form_that_was_changed_is_refused(
    client: TestClient, world: World, purpose: Purpose, form: dict[str, str], status: int
) -> None:
    """The signature is no licence for anything else."""
    answer = await client.post(path(purpose), data=form, headers=MEDIA)
    assert answer.status == status
    assert world.asked == []


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize(("incident", "status"), [("nowhere", 404), (CLOSED.id, 409)])
async def test_an_incident_that_is_over_cannot_be_acted_on(
    client: TestClient, world: World, purpose: Purpose, incident: str, status: int
) -> None:
    """The page says so."""
    address = path(purpose, incident)
    looked = await client.get(address)
    assert (looked.status, looked.content_type) == (status, "text/html")
    sent = await client.post(address, data={"by": "ada"}, headers=MEDIA)
    assert sent.status == status
    assert world.asked == []


@pytest.mark.parametrize(
    "headers", [{"Origin": "null"}, {"Origin": "https://evil.example.com"},
                {"Sec-Fetch-Site": "cross-site"}]
)  # fmt: skip
async def test_forms_of_other_sites_are_refused(
    client: TestClient, world: World, headers: Mapping[str, str]
) -> None:
    """Also with a good signature."""
    address = path(Purpose.ACKNOWLEDGE)
    assert (await client.post(address, data={}, headers={**MEDIA, **headers})).status == 403
    assert world.asked == []


async def test_without_a_key_there_are_no_links(connect: Connect, world: World) -> None:
    """404, and how to have them."""
    client = await connect(world, signed=False)
    answer = await client.get(path(Purpose.ACKNOWLEDGE))
    assert (answer.status, "server.link_key" in await answer.text()) == (404, True)


def test_a_message_gets_a_link_for_each_purpose() -> None:
    """Below the page's address; none once the incident is over."""
    links = LINKS.links(INCIDENT, NOW)
    assert [label for label, _ in links] == ["Acknowledge", "Silence"]
    for _, address in links:
        assert address.startswith("https://monitor.example.com/")
    assert LINKS.links(CLOSED, NOW) == ()


@given(
    incident=st.text(max_size=20),
    other=st.text(max_size=20),
    at=st.floats(0, 1e11),
    other_at=st.floats(0, 1e11),
    purpose=st.sampled_from(Purpose),
    other_purpose=st.sampled_from(Purpose),
    key=st.text(min_size=1, max_size=20),
    other_key=st.text(min_size=1, max_size=20),
)
def test_a_signature_fits_one_link_only(  # noqa: PLR0917 - what is drawn
    incident: str,
    other: str,
    at: float,
    other_at: float,
    purpose: Purpose,
    other_purpose: Purpose,
    key: str,
    other_key: str,
) -> None:
    """Any other key, purpose, incident or end, and it is refused."""
    made = AckLinks(Secret(key), "https://x").address(purpose, incident, at)
    query = dict(parse_qsl(urlsplit(made).query))
    links = AckLinks(Secret(key), "https://x")
    links.check(purpose, incident, query["until"], query["sig"], at)
    until = str(int(other_at + LINK_LIFE_S))
    wanted = (other_key, other_purpose, other, until)
    if wanted != (key, purpose, incident, query["until"]):
        with pytest.raises(LinkError):
            AckLinks(Secret(other_key), "https://x").check(
                other_purpose, other, until, query["sig"], min(at, other_at)
            )


def test_a_silence_by_link_names_each_open_alert() -> None:
    """And no other: neither what is over, nor one rule on the other's deployment."""
    alerts = (part(1), part(2, rule="high.latency"), part(3, resolved_at=NOW))
    assert [[str(it) for it in each] for each in matchers_of(replace(INCIDENT, alerts=alerts))] == [
        ["rule=high_error_rate", "deployment=checkout-0001"],
        ["rule=high.latency", "deployment=checkout-0002"],
    ]


def test_a_silence_by_link_is_about_one_region() -> None:
    """The alert of a region is named by its rule and its region."""
    alert = part(1, rule="latency[eu]", labels={"region": "eu"})
    [matchers] = matchers_of(replace(INCIDENT, alerts=(alert,)))
    assert matches(matchers, labels_of(alert))
    other = replace(alert, rule="latency[us]", labels={"region": "us"})
    assert not matches(matchers, labels_of(other))


def test_a_storm_is_not_silenced_by_a_link() -> None:
    """A pattern that nobody can read is not put into force by one touch."""
    storm = replace(INCIDENT, alerts=tuple(part(number) for number in range(500)))
    with pytest.raises(RefusalError) as caught:
        matchers_of(storm)
    assert (caught.value.status, "monitor silence add" in caught.value.text) == (409, True)
