"""A message as the HTML of a mail: tables and inline styles, for every client and both themes.

Pure. Owns the markup and its escaping; loads nothing from anywhere, so that opening a mail tells
nobody and an old one still reads the same.
"""

from __future__ import annotations

import html

from monitor.model import Message, Severity
from monitor.notify.picture import WIDTH_PX
from monitor.notify.render import Text
from monitor.notify.words import TITLE_LIMIT, fit_line

_FONT = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_INK, _FAINT, _RULE, _GROUND, _AROUND = "#1f2933", "#52606d", "#e4e7eb", "#ffffff", "#f1f3f5"
_BREAK = "overflow-wrap:anywhere;word-break:break-word"
_COLOUR = {
    "acknowledged": "#a16207",
    "resolved": "#15803d",
    "test": "#475569",
}
_LOUD = {Severity.CRITICAL: "#b91c1c", Severity.WARNING: "#c2410c", Severity.INFO: "#1d4ed8"}
# Clients that know themes get a dark one of ours; the others turn ours over or leave it as it is.
_STYLE = (
    "@media (prefers-color-scheme:dark){"
    ".around{background:#111827!important}.ground{background:#1f2937!important}"
    ".ink{color:#f3f4f6!important}.faint{color:#cbd5e1!important}"
    ".rule{border-color:#374151!important}.button{border-color:#94a3b8!important}}"
    # On a phone a label stands above its value, which needs the width.
    "@media (max-width:480px){.label,.value{display:block!important;width:auto!important}"
    ".label{border:0!important;padding:9px 0 0!important}.value{padding:0 0 9px!important}}"
)


def page(message: Message, text: Text, picture: str | None) -> str:
    """Return the HTML; `picture` is the content id of the mail's picture, without brackets."""
    rows = [
        _bar(message, text),
        _paragraph(text.caution, f"font-weight:600;color:{_INK}") if text.caution else "",
        _paragraph(text.summary, f"font-size:17px;line-height:24px;color:{_INK}")
        if text.summary
        else "",
        _buttons(text),
        _table(text.lines[: text.leading], size_px=15),
        _picture(picture) if picture else "",
        _notes(text),
        _table(text.lines[text.leading :], size_px=13),
        _foot(message),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="supported-color-schemes" content="light dark">'
        f"<title>{_escaped(text.title)}</title><style>{_STYLE}</style></head>\n"
        f'<body class="around" style="margin:0;padding:0;background:{_AROUND}">\n'
        f'<table role="presentation" class="around" width="100%" cellpadding="0" cellspacing="0" '
        f'style="background:{_AROUND}"><tr><td align="center" style="padding:12px 8px">\n'
        f'<table role="presentation" class="ground" width="100%" cellpadding="0" cellspacing="0" '
        f'style="max-width:{WIDTH_PX + 48}px;background:{_GROUND};{_FONT};text-align:left">\n'
        + "".join(rows)
        + "</table>\n</td></tr></table>\n</body></html>\n"
    )


def _bar(message: Message, text: Text) -> str:
    incident = message.incident
    colour = _COLOUR.get(text.state, _LOUD[incident.severity])
    rule, deployment, environment = (
        _escaped(fit_line(name, TITLE_LIMIT))
        for name in (incident.rule, incident.deployment, incident.environment)
    )
    above = f"{text.state.upper()} · {incident.severity.upper()} · {incident.priority}"
    return (
        f'<tr><td bgcolor="{colour}" style="background:{colour};padding:16px 24px;{_BREAK}">'
        f'<div style="font-size:13px;letter-spacing:1px;font-weight:600;color:#ffffff">'
        f"{_escaped(above)}</div>"
        f'<div style="font-size:21px;line-height:28px;font-weight:600;color:#ffffff">'
        f"{rule} on {deployment}</div>"
        f'<div style="font-size:15px;color:#ffffff">{environment}{_more(text)}</div>'
        "</td></tr>\n"
    )


def _more(text: Text) -> str:
    """Return what the title says of other alerts."""
    _, plus, count = text.title.rpartition(" +")
    return f" &middot; +{_escaped(count)}" if plus and count.endswith(" more") else ""


def _paragraph(words: str, style: str) -> str:
    return (
        f'<tr><td class="ink" style="padding:16px 24px 0;{style};{_BREAK}">{_lines(words)}'
        "</td></tr>\n"
    )


def _buttons(text: Text) -> str:
    links = "".join(
        f'<a class="ink button" href="{_escaped(address)}" style="display:inline-block;'
        f"margin:8px 8px 0 0;padding:9px 14px;border:1px solid {_FAINT};border-radius:4px;"
        f'font-size:15px;color:{_INK};text-decoration:none;{_BREAK}">{_escaped(label)}</a>\n'
        for label, address in text.links
    )
    return f'<tr><td style="padding:8px 24px 0">{links}</td></tr>\n' if links else ""


def _table(lines: tuple[tuple[str, str], ...], *, size_px: int) -> str:
    if not lines:
        return ""
    cell = f"padding:7px 0;border-bottom:1px solid {_RULE};font-size:{size_px}px;line-height:1.45"
    left = f"{cell};padding-right:12px;color:{_FAINT};{_BREAK}"
    right = f"{cell};color:{_INK};{_BREAK}"
    rows = "".join(
        f'<tr><td class="faint rule label" valign="top" width="118" style="{left}">'
        f"{_escaped(label)}</td>"
        f'<td class="ink rule value" valign="top" style="{right}">{_lines(value)}</td></tr>\n'
        for label, value in lines
    )
    return (
        '<tr><td style="padding:16px 24px 0"><table role="presentation" width="100%" '
        f'cellpadding="0" cellspacing="0">\n{rows}</table></td></tr>\n'
    )


def _picture(content_id: str) -> str:
    return (
        f'<tr><td style="padding:20px 24px 0"><img src="cid:{_escaped(content_id)}" '
        f'width="{WIDTH_PX}" alt="Error rate and latency around the onset; grey where nothing was '
        f'measured" style="display:block;width:100%;max-width:{WIDTH_PX}px;height:auto;border:0;'
        f'background:#ffffff"></td></tr>\n'
    )


def _notes(text: Text) -> str:
    if not text.notes:
        return ""
    return _table((("Since then", "\n".join(text.notes)),), size_px=15)


def _foot(message: Message) -> str:
    name = _escaped(fit_line(message.incident.id, TITLE_LIMIT))
    return (
        f'<tr><td class="faint" style="padding:16px 24px 20px;font-size:12px;color:{_FAINT};'
        f'{_BREAK}">Incident {name}. Times are UTC. Sent by slo-monitor.</td></tr>\n'
    )


def _lines(text: str) -> str:
    return "<br>".join(map(_escaped, text.split("\n")))


def _escaped(text: str) -> str:
    return html.escape(text)
