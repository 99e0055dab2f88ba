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
