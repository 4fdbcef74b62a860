"""What a report's page is put into: its HTML frame and its style sheet, for light and dark."""

import base64
from html import escape

MOST_SHOWN = 200  # pictures of a kind; more are seen by nobody, and the page grows

# The colours are public/css/page.css's: ink, and the red pencil.
STYLE = """
:root {
  --desk: #e7ebf2; --paper: #fdfdfb; --rule: #d3dff1; --text: #1b2233; --muted: #566076;
  --ink: #1f3a93; --red: #c2272d;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --desk: #0f1412; --paper: #1c2824; --rule: #34463f; --text: #ebeee8; --muted: #a3b4ac;
    --ink: #f3f1e7; --red: #ff9d88;
  }
  img.ink { filter: invert(1); }
}
*, ::before, ::after { box-sizing: border-box; }
html { text-size-adjust: 100%; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--desk); color: var(--text);
  font: 1rem/1.5 -apple-system, "Segoe UI", Roboto, Cantarell, "Noto Sans", "Liberation Sans",
    system-ui, sans-serif;
}
main {
  max-inline-size: 74rem; margin-inline: auto; background: var(--paper);
  padding: clamp(1rem, 4vw, 3rem); min-block-size: 100vh;
}
h1, h2, h3 { line-height: 1.2; color: var(--ink); text-wrap: balance; }
h1 { margin-block: 0 1.5rem; font-size: clamp(1.5rem, 1.1rem + 2vw, 2.25rem); }
h2 { margin-block: 3rem 1.25rem; padding-block-start: 1.5rem; border-top: 1px solid var(--rule); }
h3 { margin-block: 2rem .5rem; }
.model, code, th { overflow-wrap: anywhere; }
.model, code span { display: inline-block; max-inline-size: 100%; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td {
  padding: .5rem 1.5rem .5rem 0; text-align: start; vertical-align: top;
  border-block-end: 1px solid var(--rule);
}
thead th, dt, small, figcaption, .note { color: var(--muted); font-weight: normal; }
small { font-size: .8125rem; white-space: nowrap; }
th small, td small { display: block; }
.note, dd { max-inline-size: 46rem; }
.note, figcaption { font-size: .875rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; margin: 0; }
dd { margin: 0; }
code { font-size: .875em; }
.figures {
  display: grid; gap: 2rem 2.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
}
figure { margin: 0; }
.plot { max-inline-size: 32rem; }
figure img { display: block; inline-size: 100%; block-size: auto; }
figcaption { margin-block-start: .75rem; max-inline-size: 46rem; }
.filters img { inline-size: auto; max-inline-size: 100%; }
.above, .below { padding-inline: .3em; border-radius: .2em; color: #fff; }
.above { background: #2f5fc8; }
.below { background: #c2392f; }
.mistakes {
  display: grid; gap: 1.25rem .75rem; padding: 0; margin-block: 1.25rem 0; list-style: none;
  grid-template-columns: repeat(auto-fill, minmax(6rem, 1fr));
}
.mistakes li { display: grid; justify-items: start; line-height: 1.3; }
.ink {
  image-rendering: pixelated; margin-block-end: .375rem;
  border: 1px solid rgb(128 128 128 / 40%); /* its own inverse */
}
.numbers { grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); }
.numbers svg { max-inline-size: 100%; margin-block-end: .375rem; }
.numbers polyline { fill: none; stroke: currentcolor; stroke-width: 2; stroke-linecap: round; }
.numbers rect { fill: none; stroke: var(--red); stroke-width: 1; }
.wrong { color: var(--red); }
@media (max-width: 34rem) {
  dl { display: block; }
  dd { margin-block-end: .5rem; }
  table { font-size: .9375rem; }
  th, td { padding-inline-end: .625rem; }
  th:last-child, td:last-child { padding-inline-end: 0; }
}
"""


def page(title: str, body: str) -> str:
    """An HTML page that asks nothing of another host.

    Args:
        title: plain text.
        body: HTML.
    """
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{STYLE}</style>
<main>
{body}
</main>
</html>
"""


def ink(png: bytes, alt: str) -> str:
    """What the network saw of a drawing, as HTML.

    Args:
        png: 28 x 28.
        alt: what it shows, in plain text.
    """
    return (
        f'<img class="ink" width="56" height="56" alt="{escape(alt)}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    )


def figure(file: str, alt: str, caption: str, kind: str = "plot") -> str:
    """A picture with its caption, as HTML.

    Args:
        file: its name, beside the page.
        alt: what it shows, in plain text.
        caption: how to read it, in HTML.
        kind: "plot", of the size that `plots` draws, or "filters".
    """
    size = ' width="360" height="331"' if kind == "plot" else ""
    return (
        f'<figure class="{kind}"><img src="{file}"{size} alt="{escape(alt)}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )
