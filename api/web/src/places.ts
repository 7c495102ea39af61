/** The sites and their locations by name, and the time zone of what the open screen shows: storage is UTC, screens are where the goods are. */
import { computed, onScopeDispose, ref, shallowRef, watch } from 'vue'
import { get } from './api/client'
import type { Location, Site } from './api/types'
import { storyNow } from './clock'

export const sites = shallowRef<Site[]>([])
export const locations = shallowRef<Location[]>([])

/** Called when somebody has signed in: names and zones are everybody's to read. */
export async function loadPlaces(): Promise<void> {
  ;[sites.value, locations.value] = await Promise.all([get<Site[]>('/sites'), get<Location[]>('/locations')])
}

/** The depot: the site with the most places in it. */
const depot = computed(() => {
  const count = (site: Site): number => locations.value.filter((each) => each.site === site.site).length
  return [...sites.value].sort((a, b) => count(b) - count(a))[0] ?? null
})

const siteOfScreen = ref<string | null>(null)

/** Say which site the things on this screen belong to; without a word, or with null, it is the depot. */
export function useSiteOfScreen(site: () => string | null | undefined): void {
  watch(site, (now) => (siteOfScreen.value = now ?? null), { immediate: true })
  onScopeDispose(() => (siteOfScreen.value = null))
}

const isKnown = (zone: string): boolean => {
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: zone }))
  } catch {
    return false
  }
}
const browserZone = new Intl.DateTimeFormat().resolvedOptions().timeZone

/** The zone in which every time on the open screen is written; UTC, and named so, where the browser does not know the site's. */
export const zone = computed(() => {
  const site = sites.value.find((each) => each.site === siteOfScreen.value) ?? depot.value
  if (site === null) return browserZone
  return isKnown(site.time_zone) ? site.time_zone : 'UTC'
})

const part = (timeZone: string, timeZoneName: 'longOffset' | 'shortOffset' | 'long', locale: string, at: number): string =>
  new Intl.DateTimeFormat(locale, { timeZone, timeZoneName }).formatToParts(at).find((each) => each.type === 'timeZoneName')?.value ?? timeZone

const minute = computed(() => Math.floor(storyNow.value / 60_000) * 60_000)

/** Whether clocks on this screen read otherwise than the person's own. */
export const isOtherZone = computed(() => part(zone.value, 'longOffset', 'en', minute.value) !== part(browserZone, 'longOffset', 'en', minute.value))

/** The zone's name in a language, and in few letters. */
export const zoneName = (locale: string): string => part(zone.value, 'long', locale, minute.value)
export const zoneOffset = (locale: string): string => part(zone.value, 'shortOffset', locale, minute.value)

const calendar = computed(() => new Intl.DateTimeFormat('en-CA', { timeZone: zone.value, year: 'numeric', month: '2-digit', day: '2-digit' }))

/** Whole days from today, by the calendar of the site, to a date `2027-01-31`; negative when it is past. */
export const daysUntil = (date: string): number => Math.round((Date.parse(date) - Date.parse(calendar.value.format(storyNow.value))) / 86_400_000)
