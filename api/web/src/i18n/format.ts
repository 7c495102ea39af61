/** Names, times, ages and amounts in the words of the language in use; times in the zone of the screen's site. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { storyNow } from '../clock'
import { zone } from '../places'

const LOT_UNKNOWN = 'lot unknown'
const JUST_NOW_MS = 5_000

type MaybeTime = string | number | null | undefined

const millis = (at: MaybeTime): number => (typeof at === 'number' ? at : at ? Date.parse(at) : Number.NaN)

export function useFormat() {
  const { t, te, locale } = useI18n()
  const format = (parts: Intl.DateTimeFormatOptions) => computed(() => new Intl.DateTimeFormat(locale.value, { ...parts, hour: '2-digit', minute: '2-digit', hourCycle: 'h23', timeZone: zone.value }))
  const clock = format({})
  const exact = format({ second: '2-digit' })
  const day = format({ month: 'short', day: 'numeric' })
  const amount = computed(() => new Intl.NumberFormat(locale.value))

  const write = (format: Intl.DateTimeFormat, at: MaybeTime): string => (Number.isNaN(millis(at)) ? t('common.none') : format.format(millis(at)))

  function span(seconds: number): string {
    const whole = Math.max(0, Math.round(seconds))
    if (whole < 60) return t('span.seconds', { n: whole })
    if (whole < 3600) return t('span.minutes', { n: Math.floor(whole / 60) })
    if (whole < 172_800) return t('span.hours', { h: Math.floor(whole / 3600), m: Math.floor((whole % 3600) / 60) })
    return t('span.days', { n: Math.floor(whole / 86_400) })
  }

  return {
    t,
    locale,
    /** The name of a thing in the language in use. */
    nameOf: (thing: { name_zh: string; name_en: string } | null | undefined): string =>
      thing ? (locale.value === 'en' ? thing.name_en : thing.name_zh) : '',
    /** A word the server sent as a code; the code itself when the screens do not know it. */
    word: (group: string, code: string, values: Record<string, unknown> = {}): string => (te(`${group}.${code}`) ? t(`${group}.${code}`, values) : code),
    clock: (at: MaybeTime) => write(clock.value, at),
    exact: (at: MaybeTime) => write(exact.value, at),
    day: (at: MaybeTime) => write(day.value, at),
    amount: (n: number) => amount.value.format(n),
    /** So many of a unit of the master data; a unit that the screens have no word for is written as it is. */
    unit: (code: string, n: number): string => (te(`unit.${code}`) ? t(`unit.${code}`, n) : code),
    /** A lot as it is printed on the goods; the hub's word for goods whose lot nobody could read, in the language in use. */
    lotOf: (lot: string): string => (lot === LOT_UNKNOWN ? t('stock.lotUnknown') : lot),
    span,
    /** How long ago, by the scenario's clock. */
    ago: (at: MaybeTime): string => (Number.isNaN(millis(at)) ? t('common.never') : storyNow.value - millis(at) < JUST_NOW_MS ? t('span.justNow') : t('span.ago', { span: span((storyNow.value - millis(at)) / 1000) })),
  }
}
