"""A Plotly chart that keeps its zoom while data arrives.

Streamlit's own ``st.plotly_chart`` builds the chart anew on every change of data. This component hands the figure to
``Plotly.react``, which draws the difference; colours of text and grid come from the theme of the page.
"""

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import streamlit as st

from dashboard.server import PLOTLY_PATH

_SCRIPT = """
const load = (source) => (window.__labPlotly ??= new Promise((resolve, reject) => {
  if (window.Plotly) return resolve(window.Plotly)
  const script = document.createElement('script')
  script.src = source
  script.onload = () => resolve(window.Plotly)
  script.onerror = () => { window.__labPlotly = undefined; reject(new Error('The chart library did not load.')) }
  document.head.appendChild(script)
}))

const themed = (layout, element) => {
  const css = getComputedStyle(element)
  const read = (name, otherwise) => css.getPropertyValue(name).trim() || otherwise
  const text = read('--st-text-color', '#1B2733')
  const grid = read('--st-border-color', '#D9E0E7')
  const page = read('--st-background-color', '#FFFFFF')
  const axis = { gridcolor: grid, linecolor: grid, tickcolor: grid, zerolinecolor: grid }
  layout.font = { ...layout.font, color: text, family: read('--st-font', 'sans-serif'), size: 12 }
  layout.hoverlabel = { bgcolor: page, bordercolor: grid, font: { color: text } }
  for (const name of Object.keys(layout)) if (/^[xy]axis/.test(name)) layout[name] = { ...axis, ...layout[name] }
  return layout
}

export default function ({ data, parentElement }) {
  const element = parentElement.querySelector('.lab-figure')
  element.setAttribute('role', 'img')
  element.setAttribute('aria-label', data.label)
  load(data.source).then((Plotly) => {
    const figure = JSON.parse(data.figure)
    // where nothing hovers, as on a phone, the toolbar would lie over the legend for good
    const displayModeBar = matchMedia('(hover: hover)').matches ? 'hover' : false
    const config = { responsive: true, displaylogo: false, displayModeBar, modeBarButtonsToRemove: ['select2d', 'lasso2d'] }
    Plotly.react(element, figure.data, themed(figure.layout, element), config)
  }).catch((error) => { element.textContent = error.message })
  return () => { if (window.Plotly) window.Plotly.purge(element) }
}
"""
# axes of parallel coordinates are black whatever the layout says
_STYLE = ".lab-figure .parcoords .axis path, .lab-figure .parcoords .axis line { stroke: var(--st-text-color) !important; opacity: 0.5; }"
_component = st.components.v2.component("lab_plotly", html="<div class='lab-figure'></div>", css=_STYLE, js=_SCRIPT, isolate_styles=False)


def show(figure: go.Figure, *, key: str, label: str, numbers: pd.DataFrame | None = None) -> None:
    """Draws the figure and, behind it, the table of its numbers. ``label`` is what a screen reader says.

    Zoom is kept as long as the axes mean the same.
    """
    axes = (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text, figure.layout.yaxis.type)
    # a range that Plotly or we chose for an empty or level chart must not outlive it as if a person had zoomed there
    state = (bool(figure.data), figure.layout.yaxis.range is None)
    figure.update_layout(template="none", uirevision=f"{key} {axes} {state}", autosize=True)
    figure.update_yaxes(autorange=True if figure.layout.yaxis.range is None else None)
    spec = pio.to_json(figure, validate=False)
    _component(data={"figure": spec, "source": PLOTLY_PATH, "label": label}, key=key, height=int(figure.layout.height))
    if numbers is None:
        return
    behind = st.expander("Numbers", key=f"{key}_numbers", on_change="rerun")
    if behind.open:
        behind.dataframe(numbers, hide_index=True, height=240)
