"""A picture of a layer with its adapter: blocks as large as the matrices are. Drawn as SVG, in the colours of the page's text.

In: sizes. Out: the picture on the page. A person's input reaches it only as whole numbers.
"""

from dashboard.components import browser_part
from tabtune_core.charts.style import BASELINES, COLOURS

SIDE = 150
"""Of the longer side of the weight, in the picture's own unit."""
THINNEST = 4
MIDDLE = 100
_component = browser_part("svg", "<div class='lab-picture'></div>", isolate_styles=False)
FROZEN, A_COLOUR, B_COLOUR = BASELINES["Zero-shot"].colour, COLOURS[0], COLOURS[1]


def show_layer(d_in: int, d_out: int, rank: int) -> None:
    """Draws it."""
    _component(data={"picture": layer_picture(d_in, d_out, rank)}, key="guide_picture")


def layer_picture(d_in: int, d_out: int, rank: int) -> str:
    """The weight W0, and B and A beside it, as an SVG; a side that would be too thin to see is drawn a little thicker, and said."""
    scale = SIDE / max(d_in, d_out)
    wide, tall, thin = max(d_in * scale, THINNEST), max(d_out * scale, THINNEST), max(rank * scale, THINNEST)
    left = 30.0
    blocks = [_block(left, wide, tall, FROZEN, "W₀", f"{d_out} × {d_in}", "frozen", dashed=True)]
    left += wide + 30
    blocks.append(_sign(left, "+"))
    left += 25
    blocks.append(_sign(left + 22, "α/r ·"))
    left += 62
    blocks.append(_block(left, thin, tall, B_COLOUR, "B", f"{d_out} × {rank}", "trained"))
    left += max(thin, 56) + 16
    blocks.append(_sign(left, "·"))
    left += 20
    blocks.append(_block(left, wide, thin, A_COLOUR, "A", f"{rank} × {d_in}", "trained"))
    width = left + wide + 30
    said = f"A frozen weight of {d_out} by {d_in}, plus alpha over r times B of {d_out} by {rank} times A of {rank} by {d_in}."
    return (
        f'<svg viewBox="0 0 {width:.0f} 244" style="width: 100%; max-width: {width:.0f}px; height: auto" role="img" aria-label="{said}"'
        f' font-family="inherit" font-size="16" fill="currentColor" text-anchor="middle"><title>{said}</title>{"".join(blocks)}</svg>'
    )


def _block(left: float, width: float, height: float, colour: str, name: str, size: str, state: str, *, dashed: bool = False) -> str:
    """A matrix with its name and size under it."""
    centre, dash = left + width / 2, ' stroke-dasharray="5 3"' if dashed else ""
    return (
        f'<rect x="{left:.1f}" y="{MIDDLE - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2" fill="{colour}"'
        f' fill-opacity="{0.18 if dashed else 0.85}" stroke="{colour}" stroke-width="1.5"{dash}/>'
        f'<text x="{centre:.1f}" y="200" font-weight="600" font-size="18">{name}</text>'
        f'<text x="{centre:.1f}" y="219">{size}</text><text x="{centre:.1f}" y="237" opacity="0.7" font-size="15">{state}</text>'
    )


def _sign(centre: float, text: str) -> str:
    return f'<text x="{centre:.1f}" y="{MIDDLE + 6}" font-size="20">{text}</text>'
