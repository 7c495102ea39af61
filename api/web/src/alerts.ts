/** The alerts that wait for a person: loaded once for the whole app, kept fresh, counted for the bell. */
import { computed, ref } from 'vue'
import { get } from './api/client'
import type { Alert, Severity } from './api/types'

export const SEVERITIES: Severity[] = ['critical', 'major', 'minor', 'warning']
export const openAlerts = ref<Alert[]>([])

export async function loadOpenAlerts(): Promise<void> {
  openAlerts.value = await get<Alert[]>('/alerts', { state: 'open', limit: 200 })
}

export const unacked = computed(() => openAlerts.value.filter((alert) => alert.acknowledged_at === null && alert.state !== 'resolved'))
export const worst = computed<Severity | null>(() => SEVERITIES.find((s) => unacked.value.some((a) => a.severity === s)) ?? null)
export const criticalUnacked = computed(() => unacked.value.some((a) => a.severity === 'critical' && a.cleared_at === null))
