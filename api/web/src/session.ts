/** Who is logged in, and which screens the server's permissions open. */
import { computed, ref } from 'vue'
import { ApiError, del, get, patch, post, setCsrf, whenUnauthorized } from './api/client'
import type { Language, Permission, Person, Role, Session, StoryNow } from './api/types'
import { setStoryNow } from './clock'
import { setLanguage } from './i18n'
import { onLiveAlways, startLive, stopLive } from './live/live'
import { loadPlaces } from './places'
import { router } from './router'

export type Screen = 'gate' | 'alerts' | 'stock' | 'map' | 'devices' | 'drive'

/** What each screen cannot do without. */
const NEEDS: Record<Screen, Permission[]> = {
  drive: ['vehicles.read', 'plans.read'],
  gate: ['receipts.read'],
  alerts: ['alerts.read'],
  stock: ['stock.read'],
  map: ['vehicles.read', 'plans.read'],
  devices: ['devices.read'],
}

/** With which screen a role's day begins; it opens nothing. */
const FIRST: Partial<Record<Role, Screen>> = { storekeeper: 'alerts', dispatcher: 'map', maintainer: 'devices', auditor: 'alerts' }

export const person = ref<Person | null>(null)
const permits = (permission: Permission): boolean => person.value?.permissions.includes(permission) ?? false

export const screens = computed<Screen[]>(() => {
  const open = (Object.keys(NEEDS) as Screen[]).filter((screen) => NEEDS[screen].every(permits) && (screen !== 'drive' || person.value?.role === 'driver'))
  const first = person.value ? FIRST[person.value.role] : undefined
  return open.sort((a, b) => Number(b === first) - Number(a === first))
})
export const homePath = computed(() => `/${screens.value[0] ?? 'login'}`)

/** What the server would refuse is not offered. */
export const may = {
  decidePlans: computed(() => permits('plans.decide')),
  decideAlerts: computed(() => permits('alerts.decide')),
  correctStock: computed(() => permits('stock.correct')),
  writeOrders: computed(() => permits('orders.write')),
  readAlerts: computed(() => permits('alerts.read')),
  readColdRooms: computed(() => permits('cold_rooms.read')),
  readOrders: computed(() => permits('orders.read')),
  readRejections: computed(() => permits('rejections.read')),
}

let pickedBeforeLogin: Language | null = null

async function begin(session: Session): Promise<void> {
  person.value = session.person
  setCsrf(session.csrf)
  if (pickedBeforeLogin && pickedBeforeLogin !== session.person.language) void chooseLanguage(pickedBeforeLogin)
  else setLanguage(session.person.language)
  pickedBeforeLogin = null
  startLive()
  // The screens wait for the zones, so that no time is ever shown in two of them; what fails here comes again with the stream.
  await Promise.allSettled([get<StoryNow>('/now').then(setStoryNow), loadPlaces()])
}

function end(): void {
  person.value = null
  setCsrf('')
  stopLive()
}

/** Take up the session of the cookie, when there is one. */
export async function resume(): Promise<void> {
  try {
    await begin(await get<Session>('/session'))
  } catch (failure) {
    if (!(failure instanceof ApiError)) throw failure
  }
}

export async function login(name: string, password: string): Promise<void> {
  await begin(await post<Session>('/session', { name, password }))
}

export async function logout(): Promise<void> {
  await del('/session').catch(() => undefined)
  end()
  await router.push('/login')
}

export async function chooseLanguage(language: Language): Promise<void> {
  setLanguage(language)
  if (!person.value) {
    pickedBeforeLogin = language
    return
  }
  person.value.language = language
  await patch('/session', { language }).catch(() => undefined)
}

function ended(): void {
  if (!person.value) return
  end()
  void router.push({ path: '/login', query: { back: router.currentRoute.value.fullPath, ended: '1' } })
}
whenUnauthorized(ended)
onLiveAlways('unauthorized', ended)
onLiveAlways('again', () => void loadPlaces().catch(() => undefined))
