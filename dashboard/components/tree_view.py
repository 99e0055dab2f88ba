"""The tree of a model's parts on the page: check boxes with three states, for the mouse, the keyboard and a screen reader.

In: the nodes of target_tree. Out: the path at which a person ticked. Streamlit has no tree; this one is made of the browser's own
``details`` and check boxes, and keeps open what is open while the page is drawn again.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

_STYLE = """
.lab-tree { max-height: 26rem; overflow: auto; font-size: 0.875rem; color: var(--st-text-color); font-family: var(--st-font); }
.lab-tree ul { list-style: none; margin: 0; padding-left: 1.1rem; }
.lab-tree > ul { padding-left: 0; }
.lab-tree .row { display: inline-flex; flex-wrap: wrap; align-items: center; column-gap: 0.4rem; padding: 0.15rem 0; max-width: 92%; }
.lab-tree .leaf { margin-left: 0.95rem; }
.lab-tree summary { cursor: pointer; }
.lab-tree summary::marker { color: var(--st-primary-color); }
.lab-tree input { width: 1rem; height: 1rem; accent-color: var(--st-primary-color); cursor: pointer; }
.lab-tree label { cursor: pointer; overflow-wrap: anywhere; }
.lab-tree .told { opacity: 0.75; font-size: 0.8rem; }
"""
_SCRIPT = """
const count = (n) => n >= 1e6 ? (n / 1e6).toFixed(1) + ' M' : n >= 1e4 ? Math.round(n / 1e3) + ' k' : n.toLocaleString('en')

const told = (node, rank) => {
  const what = node.children.length ? `${node.layers} layers` : node.shape
  const small = node.small ? ', adapted only if selected itself' : ''
  const adapter = node.adapter ? `, adapter at r=${rank}: ${count(node.adapter)}` : ''
  return `${what}, ${count(node.weights)} weights${adapter}${small}`
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector('.lab-tree')
  const open = (root.labOpen ??= new Set())
  const focused = root.getRootNode().activeElement?.dataset?.path
  const top = root.scrollTop

  const row = (node) => {
    const line = document.createElement('span')
    line.className = node.children.length ? 'row' : 'row leaf'
    const label = document.createElement('label')
    const box = document.createElement('input')
    box.type = 'checkbox'
    box.dataset.path = node.path
    box.checked = node.state === 'all'
    box.indeterminate = node.state === 'some'
    box.setAttribute('aria-label', `${node.path}: ${told(node, data.rank)}`)
    box.onclick = (event) => { event.stopPropagation(); setTriggerValue('ticked', node.path) }
    label.onclick = (event) => event.stopPropagation()
    label.append(box, ' ', node.name + (node.group ? ` (${node.group})` : ''))
    const more = document.createElement('span')
    more.className = 'told'
    more.textContent = told(node, data.rank)
    line.append(label, more)
    return line
  }
  const list = (nodes) => {
    const made = document.createElement('ul')
    for (const node of nodes) {
      const item = document.createElement('li')
      if (node.children.length) {
        const part = document.createElement('details')
        const head = document.createElement('summary')
        head.append(row(node))
        part.open = open.has(node.path)
        if (part.open) part.append(head, list(node.children))
        else part.append(head)
        part.ontoggle = () => {
          part.open ? open.add(node.path) : open.delete(node.path)
          if (part.open && part.children.length === 1) part.append(list(node.children))
        }
        item.append(part)
      } else item.append(row(node))
      made.append(item)
    }
    return made
  }
  root.setAttribute('role', 'group')
  root.setAttribute('aria-label', 'Target modules')
  root.replaceChildren(list(data.nodes))
  root.scrollTop = top
  if (focused) root.querySelector(`input[data-path="${CSS.escape(focused)}"]`)?.focus()
}
"""
_component = st.components.v2.component("lab_tree", html="<div class='lab-tree'></div>", css=_STYLE, js=_SCRIPT)


def show(nodes: list[dict[str, Any]], *, rank: int, key: str, on_tick: Callable[[str], None]) -> None:
    """Draws the tree; ``on_tick`` is called with the path of a box before the page is drawn anew."""

    def ticked() -> None:
        path = st.session_state[key].ticked
        if path:
            on_tick(path)

    _component(data={"nodes": nodes, "rank": rank}, key=key, on_ticked_change=ticked)
