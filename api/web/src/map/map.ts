/** The map: vehicles, driven routes, planned and proposed routes, numbered stops. Knows no framework: mount, set, destroy. */
import type { Feature, FeatureCollection, LineString, Point } from 'geojson'
import * as maplibregl from 'maplibre-gl'
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url'
import 'maplibre-gl/dist/maplibre-gl.css'

maplibregl.setWorkerUrl(workerUrl)

export type VehicleState = 'moving' | 'stopped' | 'stale'

export interface MapVehicle {
  id: string
  label: string
  longitude: number
  latitude: number
  course: number | null
  state: VehicleState
}
export interface MapStop {
  number: number
  label: string
  longitude: number
  latitude: number
  state: 'ahead' | 'done' | 'late'
  /** Named at every zoom: the next stop of a vehicle, or a stop of the chosen one. The others are named from close by. */
  named: boolean
}
export interface MapRoute {
  vehicle: string
  kind: 'active' | 'proposed'
  line: [number, number][]
}
export interface MapData {
  vehicles: MapVehicle[]
  stops: MapStop[]
  routes: MapRoute[]
  tracks: { vehicle: string; line: [number, number][] }[]
  depots: { label: string; longitude: number; latitude: number }[]
  chosen: string | null
}
export interface MapLook {
  ground: string
  grid: string
  gridText: string
  text: string
  halo: string
  accent: string
  driven: string
  planned: string
  good: string
  stopped: string
  stale: string
  late: string
  onStop: string
}

export const SOFTWARE = /SwiftShader|llvmpipe|Basic Render|Software/i
const GRID_STEPS = [10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005]
const GRID_LINE_PX = 95
const NAMED_FROM_ZOOM = 13
/** So many features are drawn in full sharpness without a graphics card too. */
const SHARP_MAX = 60
const LITE_PIXELS = 0.6
const FONT = ['sans-serif']

/** The name of what draws: null when there is no WebGL at all. */
export function renderer(): string | null {
  const gl = document.createElement('canvas').getContext('webgl2')
  if (!gl) return null
  const info = gl.getExtension('WEBGL_debug_renderer_info')
  const name = String(info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : gl.getParameter(gl.RENDERER))
  gl.getExtension('WEBGL_lose_context')?.loseContext()
  return name
}

const none: FeatureCollection = { type: 'FeatureCollection', features: [] }
const point = (longitude: number, latitude: number, properties: object): Feature<Point> => ({ type: 'Feature', geometry: { type: 'Point', coordinates: [longitude, latitude] }, properties: { ...properties } })
const line = (coordinates: number[][], properties: object): Feature<LineString> => ({ type: 'Feature', geometry: { type: 'LineString', coordinates }, properties: { ...properties } })
const all = (features: Feature[]): FeatureCollection => ({ type: 'FeatureCollection', features })

function arrow(color: string, halo: string, moving: boolean): ImageData {
  const size = 56
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = size
  const ctx = canvas.getContext('2d')
  if (!ctx) throw new Error('no 2d canvas')
  ctx.translate(size / 2, size / 2)
  ctx.fillStyle = color
  ctx.strokeStyle = halo
  ctx.lineWidth = 4
  ctx.lineJoin = 'round'
  ctx.beginPath()
  if (moving) {
    ctx.moveTo(0, -22)
    ctx.lineTo(15, 18)
    ctx.lineTo(0, 10)
    ctx.lineTo(-15, 18)
    ctx.closePath()
  } else {
    ctx.roundRect(-13, -13, 26, 26, 6)
  }
  ctx.fill()
  ctx.stroke()
  return ctx.getImageData(0, 0, size, size)
}

export function mountMap(el: HTMLElement, look: MapLook, onChoose: (vehicle: string | null) => void, lite: boolean) {
  const map = new maplibregl.Map({
    container: el,
    style: { version: 8, sources: {}, layers: [{ id: 'ground', type: 'background', paint: { 'background-color': look.ground } }] },
    center: [121.47, 31.23],
    zoom: 10,
    attributionControl: false,
    dragRotate: false,
    pitchWithRotate: false,
    touchPitch: false,
    ...(lite ? { fadeDuration: 0, pixelRatio: LITE_PIXELS } : {}),
  })
  map.touchZoomRotate.disableRotation()
  map.addControl(new maplibregl.NavigationControl({ showCompass: false }), 'top-right')
  map.addControl(new maplibregl.ScaleControl({ unit: 'metric', maxWidth: 80 }), 'bottom-left')

  let data: MapData = { vehicles: [], stops: [], routes: [], tracks: [], depots: [], chosen: null }
  let ready = false
  let fitted = false
  const status = { ready: false, lite, vehicles: 0, moving: 0, stops: 0, routes: 0, proposed: 0, tracks: 0, chosen: null as string | null }
  ;(window as unknown as { __map: typeof status }).__map = status
  const tell = (): void => {
    for (const [name, value] of Object.entries(status)) el.dataset[name] = String(value)
  }

  map.on('load', () => {
    for (const state of ['moving', 'stopped', 'stale'] as const)
      map.addImage(state, arrow(state === 'moving' ? look.good : state === 'stopped' ? look.stopped : look.stale, look.halo, state === 'moving'), { pixelRatio: 2 })
    for (const id of ['grid', 'planned', 'tracks', 'stops', 'depots', 'vehicles']) map.addSource(id, { type: 'geojson', data: none })
    map.addLayer({ id: 'grid', type: 'line', source: 'grid', filter: ['==', ['geometry-type'], 'LineString'], paint: { 'line-color': look.grid, 'line-width': 1 } })
    map.addLayer({ id: 'grid-text', type: 'symbol', source: 'grid', filter: ['==', ['geometry-type'], 'Point'], layout: { 'text-field': ['get', 'label'], 'text-font': FONT, 'text-size': 10.5, 'text-anchor': ['get', 'anchor'], 'text-offset': [0.3, -0.2], 'text-optional': true }, paint: { 'text-color': look.gridText } })
    const round = { 'line-cap': 'round', 'line-join': 'round' } as const
    const beside = (radial: number): maplibregl.SymbolLayerSpecification['layout'] => ({ 'text-variable-anchor': ['top', 'bottom', 'right', 'left'], 'text-radial-offset': radial, 'text-justify': 'auto', 'text-max-width': 8 })
    const readable = { 'text-color': look.text, 'text-halo-color': look.ground, 'text-halo-width': 2 }
    const dim = ['case', ['get', 'dim'], 0.25, 1] as maplibregl.ExpressionSpecification
    map.addLayer({ id: 'planned', type: 'line', source: 'planned', filter: ['==', ['get', 'kind'], 'active'], layout: round, paint: { 'line-color': look.planned, 'line-width': 2.5, 'line-dasharray': [1.5, 2], 'line-opacity': dim } })
    map.addLayer({ id: 'proposed', type: 'line', source: 'planned', filter: ['==', ['get', 'kind'], 'proposed'], layout: round, paint: { 'line-color': look.accent, 'line-width': 3, 'line-dasharray': [2, 1.6], 'line-opacity': dim } })
    map.addLayer({ id: 'tracks', type: 'line', source: 'tracks', layout: round, paint: { 'line-color': look.driven, 'line-width': 3.5, 'line-opacity': dim } })
    map.addLayer({ id: 'depots', type: 'circle', source: 'depots', paint: { 'circle-radius': 7, 'circle-color': look.text, 'circle-stroke-width': 3, 'circle-stroke-color': look.halo } })
    map.addLayer({ id: 'depot-text', type: 'symbol', source: 'depots', layout: { 'text-field': ['get', 'label'], 'text-font': FONT, 'text-size': 12, ...beside(1.1) }, paint: readable })
    map.addLayer({ id: 'stops', type: 'circle', source: 'stops', paint: { 'circle-radius': 11, 'circle-color': ['match', ['get', 'state'], 'done', look.stale, 'late', look.late, look.accent], 'circle-stroke-width': 2, 'circle-stroke-color': look.halo } })
    // What is placed first, from the top layer down, keeps its place: vehicles, numbers, the stops that matter, the others.
    const named = (isNamed: boolean, minzoom: number): void => {
      map.addLayer({ id: isNamed ? 'stop-named' : 'stop-other', type: 'symbol', source: 'stops', minzoom, filter: ['==', ['get', 'named'], isNamed], layout: { 'text-field': ['get', 'label'], 'text-font': FONT, 'text-size': 12, 'text-padding': 4, ...beside(1.25) }, paint: readable })
    }
    named(false, NAMED_FROM_ZOOM)
    named(true, 0)
    map.addLayer({ id: 'stop-number', type: 'symbol', source: 'stops', layout: { 'text-field': ['get', 'number'], 'text-font': FONT, 'text-size': 12, 'text-padding': 5, 'text-allow-overlap': true }, paint: { 'text-color': look.onStop } })
    map.addLayer({ id: 'vehicles', type: 'symbol', source: 'vehicles', layout: { 'icon-image': ['get', 'state'], 'icon-rotate': ['get', 'course'], 'icon-rotation-alignment': 'map', 'icon-allow-overlap': true, 'icon-size': ['case', ['get', 'chosen'], 1.3, 1], 'symbol-sort-key': ['case', ['get', 'chosen'], 0, 1], 'text-field': ['get', 'label'], 'text-font': FONT, 'text-size': 13, ...beside(1.2), 'text-optional': true }, paint: readable })
    ready = true
    status.ready = true
    tell()
    graticule()
    draw()
  })
  map.on('moveend', graticule)
  map.on('click', (event) => {
    if (!ready) return
    const hit = map.queryRenderedFeatures([[event.point.x - 14, event.point.y - 14], [event.point.x + 14, event.point.y + 14]], { layers: ['vehicles'] })[0]
    onChoose((hit?.properties.id as string | undefined) ?? null)
  })

  function put(source: string, features: Feature[]): void {
    const found = map.getSource<maplibregl.GeoJSONSource>(source)
    found?.setData(all(features))
  }

  /** Without tiles, lines of longitude and latitude say where one is. */
  function graticule(): void {
    if (!ready) return
    const view = map.getBounds()
    const [west, south, east, north] = [view.getWest(), Math.max(-85, view.getSouth()), view.getEast(), Math.min(85, view.getNorth())]
    const step = [...GRID_STEPS].reverse().find((each) => (east - west) / each <= el.clientWidth / GRID_LINE_PX) ?? 10
    const digits = step < 0.01 ? 3 : step < 0.1 ? 2 : step < 1 ? 1 : 0
    const features: Feature[] = []
    for (let x = Math.ceil(west / step) * step; x <= east; x += step) {
      features.push(line([[x, south], [x, north]], {}), point(x, south, { label: `${x.toFixed(digits)}°`, anchor: 'bottom-left' }))
    }
    for (let y = Math.ceil(south / step) * step; y <= north; y += step) {
      features.push(line([[west, y], [east, y]], {}), point(west, y, { label: `${y.toFixed(digits)}°`, anchor: 'bottom-left' }))
    }
    put('grid', features)
  }

  /** Show everything, or while a vehicle is chosen all of its route. */
  function fit(duration = 0): void {
    const places = data.chosen === null ? [...data.vehicles, ...data.stops, ...data.depots] : [...data.vehicles.filter((each) => each.id === data.chosen), ...data.stops]
    if (places.length === 0) return
    const bounds = new maplibregl.LngLatBounds()
    for (const place of places) bounds.extend([place.longitude, place.latitude])
    map.fitBounds(bounds, { padding: data.chosen === null ? { top: 64, bottom: 52, left: 52, right: 72 } : { top: 68, bottom: 60, left: el.clientWidth < 500 ? 84 : 124, right: 124 }, maxZoom: 14, animate: duration > 0, duration })
    fitted = true
  }

  function draw(): void {
    Object.assign(status, {
      vehicles: data.vehicles.length,
      moving: data.vehicles.filter((each) => each.state === 'moving').length,
      stops: data.stops.length,
      routes: data.routes.filter((each) => each.kind === 'active').length,
      proposed: data.routes.filter((each) => each.kind === 'proposed').length,
      tracks: data.tracks.filter((each) => each.line.length > 1).length,
      chosen: data.chosen,
    })
    tell()
    if (!ready) return
    if (lite) {
      const pixels = data.vehicles.length + data.stops.length > SHARP_MAX ? LITE_PIXELS : Math.min(1, devicePixelRatio)
      if (map.getPixelRatio() !== pixels) map.setPixelRatio(pixels)
    }
    const dimmed = (vehicle: string): boolean => data.chosen !== null && data.chosen !== vehicle
    put('planned', data.routes.map((each) => line(each.line, { kind: each.kind, dim: dimmed(each.vehicle) })))
    put('tracks', data.tracks.filter((each) => each.line.length > 1).map((each) => line(each.line, { dim: dimmed(each.vehicle) })))
    put('stops', data.stops.map((each) => point(each.longitude, each.latitude, { number: String(each.number), label: each.label, state: each.state, named: each.named })))
    put('depots', data.depots.map((each) => point(each.longitude, each.latitude, { label: each.label })))
    put('vehicles', data.vehicles.map((each) => point(each.longitude, each.latitude, { id: each.id, label: each.label, state: each.state, course: each.state === 'moving' ? (each.course ?? 0) : 0, chosen: each.id === data.chosen })))
    if (!fitted) fit()
  }

  const resize = new ResizeObserver(() => map.resize())
  resize.observe(el)

  return {
    set(next: MapData): void {
      const isOther = next.chosen !== null && next.chosen !== data.chosen
      data = next
      draw()
      if (isOther) fit(lite ? 0 : 400)
    },
    fit: () => fit(),
    destroy(): void {
      resize.disconnect()
      map.remove()
    },
  }
}
