/** A line over time with its limits as bands; a null is an outage and breaks the line. Knows no framework. */
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'

export interface ChartData {
  /** Epoch seconds, rising. */
  at: number[]
  values: (number | null)[]
  /** Of hours or days: the lowest and the highest of each, drawn as thin lines; null for single readings. */
  lows: (number | null)[] | null
  highs: (number | null)[] | null
  lower: number | null
  upper: number | null
  /** Moments to mark, epoch seconds. */
  marks: { at: number; label: string }[]
  unit: string
}

export interface ChartLook {
  line: string
  text: string
  grid: string
  limit: string
  outside: string
  mark: string
  font: string
}

const EDGE_ALPHA = 0.45
const HEIGHT = 250
const ROW_PX = 17
const AIR_PX = 4

export function mountChart(el: HTMLElement, look: ChartLook, locale: string, zone: string) {
  let data: ChartData = { at: [], values: [], lows: null, highs: null, lower: null, upper: null, marks: [], unit: '' }
  const clock = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: zone })
  let labelRows = 0
  let gone = false

  function bands(plot: uPlot): void {
    const { ctx, bbox } = plot
    const y = (value: number): number => plot.valToPos(value, 'y', true)
    ctx.save()
    ctx.beginPath()
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
    ctx.clip()
    ctx.fillStyle = look.outside
    if (data.upper !== null) ctx.fillRect(bbox.left, bbox.top, bbox.width, y(data.upper) - bbox.top)
    if (data.lower !== null) ctx.fillRect(bbox.left, y(data.lower), bbox.width, bbox.top + bbox.height - y(data.lower))
    ctx.strokeStyle = look.limit
    ctx.setLineDash([6, 5])
    ctx.lineWidth = devicePixelRatio
    for (const limit of [data.lower, data.upper]) {
      if (limit === null) continue
      ctx.beginPath()
      ctx.moveTo(bbox.left, y(limit))
      ctx.lineTo(bbox.left + bbox.width, y(limit))
      ctx.stroke()
    }
    ctx.restore()
  }

  /** Where each label goes: right of its line, left of it at the edge, a row lower while the place is taken. */
  function place(plot: uPlot): { x: number; left: number; row: number; label: string }[] {
    const { ctx, bbox } = plot
    const air = 5 * devicePixelRatio
    const taken: { from: number; until: number; row: number }[] = []
    return [...data.marks]
      .sort((a, b) => a.at - b.at)
      .flatMap(({ at, label }) => {
        const x = plot.valToPos(at, 'x', true)
        if (x < bbox.left || x > bbox.left + bbox.width) return []
        const width = ctx.measureText(label).width
        const left = Math.max(bbox.left, x + air + width > bbox.left + bbox.width ? x - air - width : x + air)
        const isFree = (row: number): boolean => taken.every((each) => each.row !== row || left > each.until + air || left + width + air < each.from)
        let row = 0
        while (!isFree(row)) row += 1
        taken.push({ from: Math.min(left, x), until: Math.max(left + width, x), row })
        return [{ x, left, row, label }]
      })
  }

  /** The labels stand above the plot, each at the head of its line, so that neither line nor label covers another. */
  function marks(plot: uPlot): void {
    const { ctx, bbox } = plot
    ctx.save()
    ctx.font = `${12 * devicePixelRatio}px ${look.font}`
    ctx.fillStyle = ctx.strokeStyle = look.mark
    ctx.textAlign = 'left'
    ctx.textBaseline = 'middle'
    ctx.lineWidth = devicePixelRatio
    const placed = place(plot)
    const rows = Math.max(0, ...placed.map((each) => each.row + 1))
    const middle = (row: number): number => bbox.top - (AIR_PX + (rows - row - 0.5) * ROW_PX) * devicePixelRatio
    for (const mark of placed) {
      ctx.setLineDash([2, 3])
      ctx.beginPath()
      ctx.moveTo(mark.x, middle(mark.row) - (ROW_PX / 2 - 2) * devicePixelRatio)
      ctx.lineTo(mark.x, bbox.top + bbox.height)
      ctx.stroke()
      ctx.fillText(mark.label, mark.left, middle(mark.row))
    }
    ctx.restore()
    if (rows !== labelRows) {
      labelRows = rows
      queueMicrotask(() => {
        if (!gone) plot.setSize({ width: plot.width, height: HEIGHT })
      })
    }
  }

  const axis = { stroke: look.text, grid: { stroke: look.grid, width: 1 }, ticks: { stroke: look.grid, width: 1 }, font: `12px ${look.font}` }
  const line = { stroke: look.line, spanGaps: false, points: { show: false } }
  const plot = new uPlot(
    {
      width: Math.max(200, el.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      padding: [() => 8 + (labelRows > 0 ? AIR_PX + labelRows * ROW_PX : 0), 12, 0, 0],
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), zone),
      cursor: { drag: { x: true, y: false }, points: { size: 7 } },
      scales: { y: { range: (_, low, high) => range(low, high) } },
      axes: [
        { ...axis, values: (_, splits) => splits.map((s) => clock.format(s * 1000)), space: 70, size: 34 },
        { ...axis, values: (_, splits) => splits.map((s) => `${s}${data.unit}`), size: 58, space: 32 },
      ],
      series: [{}, { ...line, width: 2 }, { ...line, width: 1, alpha: EDGE_ALPHA }, { ...line, width: 1, alpha: EDGE_ALPHA }],
      hooks: { drawAxes: [bands], draw: [marks] },
    },
    [[], [], [], []],
    el,
  )

  function range(low: number | null, high: number | null): [number, number] {
    const all = [low, high, data.lower, data.upper].filter((v): v is number => v !== null && Number.isFinite(v))
    if (all.length === 0) return [0, 10]
    const [from, to] = [Math.min(...all), Math.max(...all)]
    const air = Math.max(0.8, (to - from) * 0.12)
    return [from - air, to + air]
  }

  const resize = new ResizeObserver(() => plot.setSize({ width: Math.max(200, el.clientWidth), height: HEIGHT }))
  resize.observe(el)

  return {
    set(next: ChartData): void {
      data = next
      const none = next.at.map(() => null)
      plot.setData([next.at, next.values, next.lows ?? none, next.highs ?? none])
    },
    destroy(): void {
      gone = true
      resize.disconnect()
      plot.destroy()
    },
  }
}
