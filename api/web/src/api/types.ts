/** The JSON of the HTTP API, by hand; times are RFC 3339 UTC texts, numbers are in the unit their name ends with. */

export type Role = 'gate' | 'storekeeper' | 'dispatcher' | 'driver' | 'maintainer' | 'auditor' | 'admin'
export type Language = 'zh-CN' | 'en'

export interface Named {
  name_zh: string
  name_en: string
}

export type Permission =
  | 'alerts.read'
  | 'alerts.decide'
  | 'cold_rooms.read'
  | 'devices.read'
  | 'orders.read'
  | 'orders.write'
  | 'plans.read'
  | 'plans.decide'
  | 'receipts.read'
  | 'rejections.read'
  | 'stock.read'
  | 'stock.correct'
  | 'vehicles.read'

export interface Person {
  name: string
  role: Role
  language: Language
  vehicle: string | null
  /** What the server lets this person do; it knows more words than these. */
  permissions: (Permission | (string & {}))[]
}

export interface Session {
  person: Person
  csrf: string
}

export interface StoryNow {
  now: string
  speed: number
}

export interface Gate extends Named {
  gate: string
  site: string
}

export type Finding = 'expected' | 'over' | 'wrong_product' | 'unknown_tag' | 'doubled_serial' | 'expired' | 'unknown_direction'

export interface ReceiptLine extends Named {
  gtin: string
  lot: string
  expiry: string | null
  expected: number
  received: number
  over: number
}

export interface ReceiptItem {
  code: string
  gtin: string | null
  lot: string | null
  serial: string | null
  finding: Finding
  seen_at: string
  confidence: number
}

export interface ReceiptHead {
  id: number
  gate?: string
  shipment: string | null
  supplier?: string | null
  state: 'open' | 'posted'
  verdict: 'clean' | 'discrepancy' | null
  opened_at: string
  last_passage_at: string
  posted_at: string | null
}

export interface Receipt extends ReceiptHead {
  lines: ReceiptLine[]
  items: ReceiptItem[]
  short: number
  discrepancies: number
}

export interface GateReceipt {
  gate: string
  receipt: Receipt | null
}

export type Severity = 'warning' | 'minor' | 'major' | 'critical'
export type AlertKind = 'excursion' | 'silence' | 'device' | 'receipt' | 'lateness'

export interface AlertStock extends Named {
  gtin: string
  lot: string
  expiry: string | null
  quantity: number
  unit: string
}

export interface Alert {
  id: number
  kind: AlertKind
  source: string
  rule: string
  severity: Severity
  site: string | null
  location: string | null
  location_name_zh: string | null
  location_name_en: string | null
  vehicle_name_zh: string | null
  vehicle_name_en: string | null
  destination_name_zh: string | null
  destination_name_en: string | null
  state: 'open' | 'acknowledged' | 'resolved'
  opened_at: string
  recorded_at: string
  cleared_at: string | null
  acknowledged_at: string | null
  acknowledged_by: string | null
  acknowledge_reason: string | null
  resolved_at: string | null
  details: Record<string, unknown>
  stock?: AlertStock[]
}

export interface LimitRule {
  rule: string
  quantity: string
  lower: number | null
  upper: number | null
  severity: Severity
}

export interface SeriesNow {
  series_id: number
  device: string
  quantity: string
  value: number | null
  at: string | null
}

export interface ColdRoom extends Named {
  location: string
  site: string
  rules: LimitRule[]
  series: SeriesNow[]
  state: 'ok' | 'warning' | 'alarm' | 'silent'
}

export interface Readings {
  series_id: number
  quantity: string
  /** More readings than a chart takes come as hours or days: their mean, lowest and highest. */
  resolution: 'reading' | 'hour' | 'day'
  at: number[]
  values: (number | null)[]
  lows: (number | null)[] | null
  highs: (number | null)[] | null
}

export interface StockRow extends Named {
  location: string
  location_name_zh: string
  location_name_en: string
  gtin: string
  lot: string
  expiry: string | null
  quantity: number
  unit: string
}

export interface StockPage {
  total: number
  rows: StockRow[]
}

export interface Movement {
  id: number
  quantity: number
  from_location: string | null
  to_location: string | null
  biz_step: string
  disposition: string
  reason: string
  actor: string
  event_time: string
  record_time: string
  epc: string | null
  corrects: number | null
  corrected_by: number | null
}

export interface Location extends Named {
  location: string
  site: string
  role: string
}

export interface Live {
  at: string
  latitude: number
  longitude: number
  speed_mps: number | null
  course_deg: number | null
}

export interface Vehicle extends Named {
  vehicle: string
  site: string
  capacity: number
  cold_box: boolean
  live: Live | null
}

export interface VehicleMoved extends Live {
  vehicle: string
}

export interface Track {
  at: number[]
  latitude: number[]
  longitude: number[]
}

export interface Stop extends Named {
  order: string
  destination: string
  latitude: number
  longitude: number
  window_from: string
  window_until: string
  arrival_at: string
  start_at: string
  departure_at: string
  lateness_s: number
  state: 'planned_for' | 'loaded' | 'arrived' | 'delivered' | 'cancelled'
  arrived_at?: string | null
  delivered_at?: string | null
  forecast_arrival_at: string | null
}

export interface Route {
  vehicle: string
  stops: Stop[]
}

export interface Reason {
  code: string
  vehicle?: string
  order?: string
  late_s?: number
  [more: string]: unknown
}

export interface Plan {
  id: number
  site: string
  state: 'proposed' | 'active' | 'superseded' | 'rejected'
  trigger: 'day' | 'lateness' | 'new_order' | 'manual'
  reasons: Reason[]
  engine: string
  elapsed_s: number
  distance_m: number
  unserved: { order: string; reason: string }[]
  made_at: string
  routes: Route[]
}

export interface SitePlan {
  active: Plan | null
  proposed: Plan | null
}

export interface Site extends Named {
  site: string
  time_zone: string
  latitude: number | null
  longitude: number | null
}

export interface Destination extends Named {
  destination: string
  latitude: number
  longitude: number
}

export interface Product extends Named {
  gtin: string
  unit: string
}

export interface NewOrder {
  id: string
  site: string
  destination: string
  window_from: string
  window_until: string
  service_s: number
  demand: number
  needs_cold_box: boolean
  priority: number
  lines: { gtin: string; quantity: number }[]
}

export interface Device {
  site: string
  device: string
  location: string | null
  state: 'online' | 'offline' | 'fault'
  state_at: string | null
  detail: string
  counts: Record<string, number>
  agent?: string | null
  agent_online?: boolean | null
  conflicts: number
}

export interface SetAside {
  id: number
  site: string
  agent: string
  reason: string
  set_aside_at: string
}

export interface Rejection {
  id: number
  topic: string
  reason: string
  agent: string | null
  received_at: string
}

export interface LiveEvent {
  id: string
  kind: string
  subject: string
  site: string | null
  payload: Record<string, unknown>
  at: string
}

export interface ReadingMoved {
  series_id: number
  at: string
  value: number
}
