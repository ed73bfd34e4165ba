"""Where a redirect leads, and when it is one. Pure."""

from __future__ import annotations

from monitor.probes.failure import ProbeError
from monitor.probes.http.url import SchemeError, Url, follow
from monitor.probes.reason import Reason

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})


def next_hop(url: Url, location: bytes) -> Url:
    """Return where a `Location` header of `url` leads.

    Raises:
        ProbeError: (redirect_scheme, redirect_invalid) when it leads nowhere.
    """
    try:
        return follow(url, location)
    except SchemeError:
        detail = "redirect to something else than http and https"
        raise ProbeError(Reason.REDIRECT_SCHEME, detail) from None
    except ValueError:
        raise ProbeError(Reason.REDIRECT_INVALID, "redirect to what is no valid URL") from None
