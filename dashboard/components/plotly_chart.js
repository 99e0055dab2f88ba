const sayInCharts = (text) => { for (const element of document.querySelectorAll('.lab-figure')) element.textContent = text }

// a dashboard that was stopped while the library loaded comes back
const load = (source) => (window.__labPlotly ??= new Promise((resolve) => {
  const attempt = () => {
    if (window.Plotly) return resolve(window.Plotly)
    const script = document.createElement('script')
    script.src = new URL(source, window.__streamlit?.BACKEND_BASE_URL ?? document.baseURI)  // below a proxy's path
    script.onload = () => { sayInCharts(''); resolve(window.Plotly) }
    script.onerror = () => {
      script.remove()
      sayInCharts('The chart library did not load. It is tried again every 3 seconds.')
      setTimeout(attempt, 3000)
    }
    document.head.appendChild(script)
  }
  attempt()
}))

const themed = (layout, element) => {
  const css = getComputedStyle(element)
  const read = (name, otherwise) => css.getPropertyValue(name).trim() || otherwise
  const text = read('--st-text-color', '#0A121A')
  const grid = read('--st-border-color', '#D9E0E7')
  const page = read('--st-background-color', '#FFFFFF')
  const axis = { gridcolor: grid, linecolor: grid, tickcolor: grid, zerolinecolor: grid }
  layout.font = { ...layout.font, color: text, family: read('--st-font', 'sans-serif'), size: 12 }
  layout.hoverlabel = { bgcolor: page, bordercolor: grid, font: { color: text } }
  for (const note of layout.annotations ?? []) if (note.bgcolor) note.bgcolor = page
  for (const name of Object.keys(layout)) if (/^[xy]axis/.test(name)) layout[name] = { ...axis, ...layout[name] }
  return layout
}

// charts that belong together share which runs are hidden and, for x axes with the same title, the visible range
const views = (window.__labViews ??= new Map())
const viewOf = (element) => {
  const name = element.__labTogether, alone = (element.__labView ??= { hidden: new Set(), ranges: new Map() })
  if (name && !views.has(name)) views.set(name, { hidden: new Set(), ranges: new Map() })
  return name ? views.get(name) : alone
}
const together = (element) => element.__labTogether
  ? [...document.querySelectorAll('.lab-figure')].filter((other) => other.__labTogether === element.__labTogether) : [element]
const across = (element) => element.layout?.xaxis?.title?.text
const alike = (element) => together(element).filter((other) => other !== element && across(other) === across(element))
const runOf = (trace) => trace.legendgroup || trace.name
const nearest = (places, place) => places.reduce((best, at, i) => Math.abs(at - place) < Math.abs(places[best] - place) ? i : best, 0)

// charts in view are drawn at once, one by one; charts out of view are drawn when the page is idle
const waiting = (window.__labWaiting ??= new Set())
const inView = (element) => {
  const { top, bottom } = element.getBoundingClientRect()
  return bottom > 0 && top < innerHeight
}
const drawNext = () => {
  for (const one of waiting) if (!one.isConnected) waiting.delete(one)
  const next = [...waiting].find(inView) ?? [...waiting][0]
  if (!next) return
  waiting.delete(next)
  next.__labDraw()
}
const drawSoon = (element) => {
  waiting.add(element)
  inView(element) ? setTimeout(drawNext) : setTimeout(() => requestIdleCallback(drawNext), 1000)
}

const watch = (element, Plotly) => {
  if (element.__labWatched) return
  element.__labWatched = true
  const again = (charts) => charts.forEach((chart) => chart.__labDraw())
  let clicked = null // a second click on the same run within 300 ms shows only that run
  const press = (run) => {
    const view = viewOf(element)
    const done = (hidden) => { clicked = null; view.hidden = hidden; again(together(element)) }
    if (clicked?.run === run) {
      clearTimeout(clicked.timer)
      const others = [...new Set(element.data.map(runOf))].filter((other) => other !== run)
      done(new Set(others.every((other) => view.hidden.has(other)) ? [] : others))
    } else {
      const turned = () => done(new Set(view.hidden.has(run) ? [...view.hidden].filter((other) => other !== run) : [...view.hidden, run]))
      clicked = { run, timer: setTimeout(turned, 300) }
    }
    return false
  }
  element.on('plotly_legendclick', ({ curveNumber }) => press(runOf(element.data[curveNumber])))
  element.on('plotly_clickannotation', ({ annotation }) => press(annotation.name))
  element.on('plotly_legenddoubleclick', () => false)
  element.on('plotly_relayout', (change) => {
    const { ranges } = viewOf(element)
    const low = change['yaxis.range[0]'], wide = change['yaxis.autorange'] && !change['xaxis.autorange']
    if (low !== undefined) element.__labUp = [low, change['yaxis.range[1]']] // a person's zoom, kept while data arrives
    else if (wide) element.__labUp = [] // all values are shown
    else if (change['yaxis.range'] || change['xaxis.autorange']) element.__labUp = undefined
    const range = change['xaxis.range'] ?? [change['xaxis.range[0]'], change['xaxis.range[1]']]
    if (change['xaxis.autorange']) {
      ranges.delete(across(element))
      element.__labResets = (element.__labResets ?? 0) + 1
      element.__labDraw()
    } else if (range[0] !== undefined) ranges.set(across(element), range)
    else return
    again(alike(element))
  })
  element.on('plotly_hover', ({ event, points }) => {
    if (!event?.isTrusted) return
    for (const other of alike(element)) {
      const curveNumber = other._fullData.findIndex((trace) => trace.name && trace.visible === true && trace.hoverinfo !== 'skip'
        && runOf(trace) === runOf(points[0].data))
      if (curveNumber < 0) Plotly.Fx.unhover(other)
      else Plotly.Fx.hover(other, [{ curveNumber, pointNumber: nearest([...other._fullData[curveNumber].x], points[0].x) }])
    }
  })
  element.on('plotly_unhover', ({ event }) => { if (event?.isTrusted) alike(element).forEach((other) => Plotly.Fx.unhover(other)) })
}

// a text that is cut off is shown in full when the pointer rests on it
window.__labWhole ??= document.addEventListener('mouseover', ({ target }) => {
  if (target.childElementCount === 0 && target.scrollWidth > target.clientWidth && !target.title) target.title = target.textContent
}) ?? true

// stores lines that no longer change and are sent once; each figure that names their stamp draws them
const keepSettled = ({ stamp, traces }) => {
  const held = (window.__labSettled ??= new Map())
  if (held.has(stamp)) return
  held.set(stamp, JSON.parse(traces))
  if (held.size > 40) held.delete(held.keys().next().value)
  for (const element of document.querySelectorAll('.lab-figure')) element.__labDraw?.()
}

// replaces the figures of charts on the page, by the name of the chart
const takeFigures = (figures) => {
  const fed = (window.__labFed ??= new Map())
  for (const [name, figure] of Object.entries(figures)) fed.delete(name), fed.set(name, figure)
  while (fed.size > 40) fed.delete(fed.keys().next().value)
  for (const element of document.querySelectorAll('.lab-figure')) if (element.__labName in figures) element.__labSoon?.()
}

export default function ({ data, parentElement }) {
  if (data.traces) return keepSettled(data)
  if (data.figures) return takeFigures(data.figures)
  const element = parentElement.querySelector('.lab-part')
  element.classList.add('lab-figure')
  element.__labTogether = data.together
  element.setAttribute('role', 'figure')
  element.setAttribute('aria-label', data.label)
  element.__labName = data.name
  load(data.source).then((Plotly) => {
    let text, figure
    const place = (trace) => trace.legendrank ?? 1000
    // without hover, as on a phone, the toolbar would always cover the legend
    const displayModeBar = matchMedia('(hover: hover)').matches ? 'hover' : false
    const config = { ...data.config, responsive: true, displayModeBar, doubleClick: 'autosize' }
    const draw = () => {
      const fed = window.__labFed?.get(data.name)
      const newest = fed?.[0] === data.stamp ? fed[1] : data.figure
      if (newest !== text) [text, figure] = [newest, JSON.parse(newest)]
      const lines = figure.data
      const sent = window.__labSettled?.get(data.settled)
      if (sent) element.__labKept = { stamp: data.settled, lines: sent }
      const settled = data.settled && element.__labKept?.stamp === data.settled ? element.__labKept.lines : null
      if (data.settled && !settled) return // they are on their way
      const layout = themed(structuredClone(figure.layout), element), { hidden, ranges } = viewOf(element)
      const range = layout.xaxis && ranges.get(layout.xaxis.title?.text)
      layout.uirevision += ` ${element.__labResets ?? 0}`
      if (layout.xaxis) layout.xaxis.uirevision = `${layout.uirevision} ${layout.xaxis.range} ${range}`
      if (range) Object.assign(layout.xaxis, { range: [...range], autorange: false })
      if (element.__labAxes !== figure.layout.uirevision) element.__labUp = undefined
      element.__labAxes = figure.layout.uirevision
      const up = element.__labUp
      if (layout.yaxis) {
        layout.yaxis.uirevision = `${layout.uirevision} ${layout.yaxis.range} ${up}`
        if (up?.length) Object.assign(layout.yaxis, { range: [...up], autorange: false })
        else if (up) Object.assign(layout.yaxis, { range: undefined, autorange: true })
      }
      const names = (layout.annotations ?? []).filter((note) => note.captureevents)
      for (const note of names) if (hidden.has(note.name)) note.opacity = 0.4
      if (names.length && element.clientWidth < 500) { // names stand below the chart, in as many rows as they need
        const wide = element.clientWidth - (layout.updatemenus ? 110 : 20)
        const [low, high] = layout.yaxis?.range ?? [-Infinity, Infinity]
        let [x, row] = [0, 0]
        for (const note of names) {
          note.visible = low <= note.y && note.y <= high // else the edge names it
          if (!note.visible) continue
          const width = 12 + 6.5 * note.text.replace(/<[^>]*>/g, '').length
          if (x && x + width > wide) [x, row] = [0, row + 1]
          Object.assign(note, { x: 0, xref: 'paper', xanchor: 'left', xshift: x - 50, align: 'left' })
          Object.assign(note, { y: 0, yref: 'paper', yanchor: 'top', yshift: -42 - 16 * row })
          x += width
        }
        Object.assign(layout.margin, { r: 8, b: (layout.updatemenus ? 76 : 62) + 16 * row })
        for (const menu of layout.updatemenus ?? []) Object.assign(menu, { xanchor: 'right', y: 0, yanchor: 'top', pad: { t: 42 } })
      }
      // a refresh with the same lines in the same colours draws nothing
      const drawn = [text, data.settled, JSON.stringify(layout), ...hidden].join()
      if (element.__labDrawn === drawn) return
      element.__labDrawn = drawn
      const all = settled ? [...settled, ...lines].sort((one, other) => place(one) - place(other)) : lines
      const shown = all.map((trace) => hidden.has(runOf(trace)) ? { ...trace, visible: 'legendonly' } : trace)
      Plotly.react(element, shown, layout, config).then(() => watch(element, Plotly))
    }
    element.__labDraw = draw
    element.__labSoon = () => drawSoon(element)
    drawSoon(element)
  }).catch((error) => { element.textContent = error.message })
  return () => { element.__labDrawn = element.__labWatched = undefined; if (window.Plotly) window.Plotly.purge(element) }
}
