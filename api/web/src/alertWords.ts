/** What an alert is about, in words and numbers: read from its kind and details, never from its texts. */
import type { Alert, Severity } from './api/types'
import { useFormat } from './i18n/format'

const UNITS: Record<string, string> = { celsius: '°C', humidity_percent: '%' }
export const unitOf = (quantity: string): string => UNITS[quantity] ?? ''

/** What is told by its rule and not by its kind alone: the last part of its keys under alertTitle and advice. */
const RULE_WORDS: Record<string, string> = {
  rejections: 'rejections',
  'set-aside-full': 'setAsideFull',
  'mirror-full': 'mirrorFull',
  'receipt-not-posted': 'notPosted',
}
export const adviceKey = (alert: Alert): string => `advice.${RULE_WORDS[alert.rule] ?? alert.kind}`

const num = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null)
const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null)

export function limitText(lower: number | null, upper: number | null, quantity: string): string {
  const unit = unitOf(quantity)
  if (lower !== null && upper !== null) return `${lower} – ${upper} ${unit}`
  return upper !== null ? `≤ ${upper} ${unit}` : lower !== null ? `≥ ${lower} ${unit}` : ''
}

export interface ExcursionFacts {
  seriesId: number
  quantity: string
  startedAt: string | null
  peak: number | null
  lower: number | null
  upper: number | null
  delayS: number | null
}

/** The numbers of an alert on a series of readings; null for every other alert. */
export function excursionFacts(alert: Alert): ExcursionFacts | null {
  const d = alert.details
  const seriesId = num(d.series_id)
  if (seriesId === null) return null
  return {
    seriesId,
    quantity: text(d.quantity) ?? 'celsius',
    startedAt: text(d.started_at),
    peak: num(d.peak),
    lower: num(d.lower),
    upper: num(d.upper),
    delayS: num(d.delay_s),
  }
}

export const toneOf = (alert: Alert): Severity | 'stale' => (alert.state === 'resolved' ? 'stale' : alert.severity)

export function useAlertWords() {
  const { t, nameOf, span, clock } = useFormat()

  const named = (name_zh: string | null, name_en: string | null): string | null => (name_zh && name_en ? nameOf({ name_zh, name_en }) : null)
  const subject = (alert: Alert): string => alert.source.slice(alert.source.indexOf(':') + 1)

  /** How late a vehicle is, or was when it had caught up: seconds say more than anybody can promise. */
  function lateness(alert: Alert): string {
    const late = num(alert.details.late_s) ?? 0
    const about = late < 60 ? t('alerts.underAMinute') : t('alerts.about', { span: span(late) })
    return alert.cleared_at === null ? t('alerts.lateBy', { about }) : late < 60 ? t('alerts.caughtUp') : t('alerts.nowLateBy', { about })
  }

  return {
    title(alert: Alert): string {
      if (alert.kind === 'excursion') {
        const side = alert.details.side === 'low' || alert.details.side === 'below' ? 'low' : 'high'
        return t(`alertTitle.${excursionFacts(alert)?.quantity === 'humidity_percent' ? 'humidity' : 'temperature'}.${side}`)
      }
      const ofRule = RULE_WORDS[alert.rule]
      if (ofRule !== undefined) return t(`alertTitle.${ofRule}`)
      return t(`alertTitle.${alert.kind}`)
    },
    place(alert: Alert): string {
      return named(alert.location_name_zh, alert.location_name_en) ?? alert.location ?? named(alert.vehicle_name_zh, alert.vehicle_name_en) ?? subject(alert)
    },
    /** One line of numbers. */
    facts(alert: Alert): string {
      const e = excursionFacts(alert)
      if (alert.kind === 'excursion' && e) {
        const parts = [e.peak === null ? '' : t('alerts.peak', { value: `${e.peak.toFixed(1)} ${unitOf(e.quantity)}` }), t('alerts.limit', { limit: limitText(e.lower, e.upper, e.quantity) })]
        return parts.filter(Boolean).join(t('common.separator'))
      }
      if (alert.kind === 'lateness') {
        const order = text(alert.details.order)
        const where = named(alert.destination_name_zh, alert.destination_name_en)
        const when = alert.cleared_at === null ? null : `${clock(alert.opened_at)}–${clock(alert.cleared_at)}`
        return [when, lateness(alert), where && order ? t('alerts.deliveryTo', { where, order }) : order].filter(Boolean).join(t('common.separator'))
      }
      if (alert.rule === 'receipt-not-posted') return [subject(alert), text(alert.details.reason)].filter(Boolean).join(t('common.separator'))
      if (alert.kind === 'receipt') {
        const found = alert.details.findings
        const findings = typeof found === 'object' && found !== null ? Object.entries(found as Record<string, unknown>).reduce((sum, [finding, n]) => sum + (finding === 'expected' ? 0 : (num(n) ?? 0)), 0) : 0
        return t('alerts.receipt', { shipment: text(alert.details.shipment) ?? subject(alert), n: findings + (num(alert.details.short) ?? 0) })
      }
      if (alert.kind === 'silence') return t('alerts.silent', { device: text(alert.details.device) ?? subject(alert) })
      if (alert.rule === 'rejections' || alert.rule === 'set-aside-full') return [subject(alert), text(alert.details.reason)].filter(Boolean).join(t('common.separator'))
      return subject(alert)
    },
  }
}
