/** What a plan means for each order, and how a proposal differs from the plan in force. */
import type { Plan, Route, Stop } from './api/types'

/** When a stop was reached, else will be, else should be. */
export const etaOf = (stop: Stop): string => stop.arrived_at ?? stop.delivered_at ?? stop.forecast_arrival_at ?? stop.arrival_at
export const isDone = (stop: Stop): boolean => stop.state === 'delivered' || stop.state === 'cancelled'

/** A forecast is not good for less. */
const NOTICEABLE_S = 60

/** Seconds after the end of the promised window; 0 when in time, which less than a minute still is. */
export function latenessS(stop: Stop): number {
  const late = isDone(stop) ? stop.lateness_s : (Date.parse(etaOf(stop)) - Date.parse(stop.window_until)) / 1000
  return late < NOTICEABLE_S ? 0 : late
}

export const stopsOf = (plan: Plan | null): (Stop & { vehicle: string })[] =>
  (plan?.routes ?? []).flatMap((route: Route) => route.stops.map((stop) => ({ ...stop, vehicle: route.vehicle })))

export const lateStops = (plan: Plan | null): number => stopsOf(plan).filter((stop) => latenessS(stop) > 0).length

export interface Change {
  order: string
  name_zh: string
  name_en: string
  kind: 'moved' | 'added' | 'removed' | 'retimed'
  fromVehicle: string | null
  toVehicle: string | null
  fromEta: string | null
  toEta: string | null
  lateBeforeS: number
  lateAfterS: number
}

/** The orders whose vehicle or arrival changes, the greatest change of lateness first. */
export function changes(active: Plan | null, proposed: Plan): Change[] {
  const before = new Map(stopsOf(active).map((stop) => [stop.order, stop]))
  const after = new Map(stopsOf(proposed).map((stop) => [stop.order, stop]))
  const found: Change[] = []
  for (const order of new Set([...before.keys(), ...after.keys()])) {
    const [old, next] = [before.get(order), after.get(order)]
    const stop = next ?? old
    if (!stop || (old && isDone(old))) continue
    const moved = old !== undefined && next !== undefined && old.vehicle !== next.vehicle
    const shiftS = old && next ? Math.abs(Date.parse(etaOf(old)) - Date.parse(etaOf(next))) / 1000 : Infinity
    if (!moved && shiftS < NOTICEABLE_S) continue
    found.push({
      order,
      name_zh: stop.name_zh,
      name_en: stop.name_en,
      kind: !old ? 'added' : !next ? 'removed' : moved ? 'moved' : 'retimed',
      fromVehicle: old?.vehicle ?? null,
      toVehicle: next?.vehicle ?? null,
      fromEta: old ? etaOf(old) : null,
      toEta: next ? etaOf(next) : null,
      lateBeforeS: old ? latenessS(old) : 0,
      lateAfterS: next ? latenessS(next) : 0,
    })
  }
  return found.sort((a, b) => b.lateBeforeS - b.lateAfterS - (a.lateBeforeS - a.lateAfterS))
}
