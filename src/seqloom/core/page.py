"""Small pages of HTML: one look for all of them, in light and dark, on a desk and on a phone."""

from __future__ import annotations

import html

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
body {{ margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: break-word; font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.3rem; }}
h2 {{ font-size: 1rem; margin: 0 0 .3rem; }}
p {{ max-width: 48rem; }}
pre {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere;
  font: .82rem/1.5 ui-monospace, Menlo, Consolas, monospace; }}
img {{ max-width: 100%; background: white; border-radius: .4rem; }}
.wide {{ overflow-x: auto; }}
{style}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{note}</p>
{body}
</body>
</html>
"""


def page(title: str, note: str, body: str, style: str = "") -> bytes:
    """A page as bytes: its title and what is said below it as plain text, its body as HTML; `style` adds to its CSS."""
    made = _PAGE.format(title=html.escape(title), note=html.escape(note), body=body, style=style)
    # A lone surrogate has no UTF-8; a page must not fail for what a model wrote.
    return made.encode("utf-8", "replace")
